// Public names are those that an index.ts exports; each needs a comment where it is declared.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { repositoryFiles } from './tree.ts';

function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2023, true);
}

/** Names that `index` re-exports from `path`; undefined stands for all of them. */
function reexports(index: string): Map<string, Set<string> | undefined> {
  const found = new Map<string, Set<string> | undefined>();
  for (const statement of parse(index).statements) {
    if (!ts.isExportDeclaration(statement) || !statement.moduleSpecifier) continue;
    const path = join(dirname(index), (statement.moduleSpecifier as ts.StringLiteral).text);
    const clause = statement.exportClause;
    if (clause === undefined || !ts.isNamedExports(clause)) found.set(path, undefined);
    else {
      const names = clause.elements.map((element) => (element.propertyName ?? element.name).text);
      found.set(path, new Set([...(found.get(path) ?? []), ...names]));
    }
  }
  return found;
}

function declaredNames(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.map((each) => each.name.getText());
  const name = (statement as ts.Statement & { name?: ts.Node }).name;
  return name === undefined ? [] : [name.getText()];
}

/** A run of constants without blank lines between them shares the comment above the first. */
function hasComment(file: ts.SourceFile, statement: ts.Statement): boolean {
  const leading = file.text.slice(statement.getFullStart(), statement.getStart(file, false));
  if (/\/[/*]/.test(leading)) return true;
  const before = file.statements[file.statements.indexOf(statement) - 1];
  const isRun = ts.isVariableStatement(statement) && !/\n\s*\n/.test(leading);
  return (
    before !== undefined && isRun && ts.isVariableStatement(before) && hasComment(file, before)
  );
}

/** Public names without a comment, as `file: name`. */
export function undocumentedNames(): string[] {
  const findings = new Set<string>();
  for (const index of repositoryFiles('src').filter((path) => path.endsWith('index.ts'))) {
    for (const [path, names] of reexports(index)) {
      if (path.endsWith('index.ts')) continue;
      const file = parse(path);
      for (const statement of file.statements) {
        const isExported = ts.canHaveModifiers(statement)
          ? ts.getModifiers(statement)?.some((each) => each.kind === ts.SyntaxKind.ExportKeyword)
          : false;
        if (isExported !== true || hasComment(file, statement)) continue;
        for (const name of declaredNames(statement))
          if (names === undefined || names.has(name)) findings.add(`${path}: ${name}`);
      }
    }
  }
  return [...findings];
}
