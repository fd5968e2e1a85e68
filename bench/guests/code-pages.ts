// A kernel with many pages of hot code: each holds one function of about a hundred instructions,
// and rounds call them all in turn. It shows what a translator's code cache does when it is full,
// and how long it takes to get warm: `w` at the start, `x` after each round, `z` at the end.

/** How much of it there is. */
export interface CodePagesOptions {
  readonly pageCount: number;
  /** How often a round calls each function. */
  readonly repeatCount: number;
  readonly roundCount: number;
}

/** The kernel's assembly; it includes start.inc. */
export function codePagesSource(options: CodePagesOptions): string {
  const { pageCount, repeatCount, roundCount } = options;
  const pages = Array.from({ length: pageCount }, (_, index) => index);
  return `.include "start.inc"
  START
  MARK 'w'
  mov ebx, ${roundCount}
1:
  mov edi, ${repeatCount}
2:
  xor esi, esi
3:
  mov eax, [functions + esi * 4]
  call eax
  inc esi
  cmp esi, ${pageCount}
  jne 3b
  dec edi
  jnz 2b
  MARK 'x'
  dec ebx
  jnz 1b
  FINISH

.section .fpages, "ax"
${pages.map((index) => FUNCTION.replace('NUMBER', String(index))).join('')}
.section .data
.align 4096
functions:
${pages.map((index) => `  .long function_${index}\n`).join('')}`;
}

const FUNCTION = `.align 4096
function_NUMBER:
  mov edx, 50
1:
  dec edx
  jnz 1b
  ret
`;
