// What the translator has made, for people: the counters behind `info jit`, and one unit as text.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { CodeCache } from './code-cache.ts';
import type { Translator, Unit } from './translator.ts';
import type { UnitBlock, UnitInstruction } from './unit-region.ts';

const REGISTERS = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];

const hex = (value: number): string => (value >>> 0).toString(16);

/** A processor that translates: what `info jit` is made of. */
export interface JITLister {
  readonly translator: Translator;
  readonly cache: CodeCache;
  readonly isTranslating: boolean;
}

/** The counters, a line each. */
export function formatJIT({ translator, cache, isTranslating }: JITLister): string {
  const { counters, units, installedInstructions } = translator;
  const lines: (readonly [string, string])[] = [
    ['translator', isTranslating ? 'on' : 'off'],
    ['units', `${units.size} with ${installedInstructions} instructions`],
    ['made', `${counters.units} in ${counters.modules} modules, ${counters.moduleBytes} bytes`],
    ['of recorded paths', String(counters.hot)],
    ['over several pages', String(counters.spanning)],
    ['invalidated', String(counters.dropped - counters.evicted)],
    ['evicted', String(counters.evicted)],
    ['failed', String(counters.failed)],
    ['building', `${counters.buildMs} ms`],
    ['compiling', `${counters.compileMs} ms`],
    ['decoded instructions', String(cache.counters.decoded)],
    ['stores into decoded code', String(cache.counters.invalidated)],
    ['decoded pages evicted', String(cache.counters.evicted)],
  ];
  return lines.map(([name, value]) => `${name}: ${value}\n`).join('');
}

/** Units that have the byte at a guest-physical RAM offset, or a line that says there is none. */
export function formatUnitsAt(
  { translator, cache }: JITLister,
  ramOffset: number,
  linear: number,
): string {
  const ramPage = Math.floor(ramOffset / PAGE_SIZE);
  const offset = ramOffset % PAGE_SIZE;
  const slots = new Set(cache.slotsOf(ramPage));
  const found = [...translator.units].filter(({ parts }) =>
    parts.some(
      ({ slot, ranges }) =>
        slots.has(slot) && ranges.some(([start, end]) => offset >= start && offset < end),
    ),
  );
  if (found.length === 0) return 'No unit has code there\n';
  return found.map((unit) => formatUnit(unit, rootPageOf(unit, cache, ramPage, linear))).join('\n');
}

/** Linear address of the unit's root page, from that of a byte in one of its pages. */
function rootPageOf({ region }: Unit, cache: CodeCache, ramPage: number, linear: number): number {
  const slots = new Set(cache.slotsOf(ramPage));
  const index = region.pages.findIndex(({ records }) => slots.has(cache.slotOf(records)));
  const page = region.pages[index]?.page ?? 0;
  return linear - (linear % PAGE_SIZE) - page * PAGE_SIZE;
}

function formatUnit({ region }: Unit, rootPage: number): string {
  const { blocks, entries, pages } = region;
  const at = (offset: number): string => hex(rootPage + offset);
  const head =
    `unit for ${at(region.root)}: ${blocks.length} blocks, ${entries.length} entries, ` +
    `${pages.length} pages\n`;
  const body = blocks.map((block, index) => {
    const marks = [
      entries.includes(index) ? 'entry' : '',
      block.targets.length > 0 ? `leads to ${block.targets.map(at).join(', ')}` : '',
      block.isDeferred ? 'ends in the interpreter' : '',
    ].filter((mark) => mark !== '');
    const why = marks.length > 0 ? ` (${marks.join('; ')})` : '';
    return `block ${index}${why}\n${formatBlock(block, at)}`;
  });
  return head + body.join('');
}

function formatBlock({ instructions }: UnitBlock, at: (offset: number) => string): string {
  return instructions.map((each) => `  ${at(each.offset)}  ${formatInstruction(each)}\n`).join('');
}

/** The row's own words with the fields that it takes: no disassembler, but enough to find it. */
function formatInstruction({ meaning, ...fields }: UnitInstruction): string {
  const { mnemonic, operands } = meaning.compiled.row;
  const register = (place: number): string => REGISTERS[place >> 3] ?? '-';
  const words = [`${mnemonic} ${operands.join()}`, `${meaning.variant.operandSize * 8} bits`];
  words.push(`reg ${register(fields.reg)}`, `base ${register(fields.base)}`);
  words.push(`disp ${hex(fields.displacement)}`, `imm ${hex(fields.immediate)}`);
  return words.join('  ');
}
