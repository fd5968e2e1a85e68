// Every instruction form that a 32-bit program may execute on a P6 with MMX, SSE and SSE2, written
// down from the opcode maps and not from Quire's own table (Intel SDM volume 2, appendix A, tables
// A-2 to A-22). The notation is the manual's (A.2.1 "Codes for Addressing Method", A.2.2 "Codes for
// Operand Type"); `/n` is a ModRM digit, `+r` a register in the low bits of the opcode.
//
// The last lines are encodings that Intel does not document and every processor has (AMD64 manual
// volume 3, appendix A, has most of them).
//
// One form a line: opcode | mnemonic | operands | options. Options:
//   o16     the operand-size prefix applies although no operand says so
//   x87 mmx sse   which unit's registers are filled with interesting values
//   privileged    faults at privilege 3 (the fault is what is compared)
//   name=value    read by generate.ts (prepare=…) or compare.ts (approximate=…)

export interface Form {
  /** Hexadecimal bytes, then `/n` or `+r` if any: `66 0F 58`, `80 /0`, `50 +r`. */
  readonly opcode: string;
  readonly mnemonic: string;
  /** Intel notation, `Ev,Gv`; empty for none. */
  readonly operands: readonly string[];
  readonly options: ReadonlySet<string>;
  /** Values of `name=value` options. */
  readonly settings: ReadonlyMap<string, string>;
}

const CONDITIONS = 'O NO B AE E NE BE A S NS P NP L GE LE G'.split(' ');
const hex = (value: number) => value.toString(16).toUpperCase().padStart(2, '0');

/** Lines of a two-operand ALU operation whose opcodes begin at `base`. */
function aluLines(mnemonic: string, index: number): string[] {
  const at = (offset: number) => hex(index * 8 + offset);
  return [
    `${at(0)} | ${mnemonic} | Eb,Gb`,
    `${at(1)} | ${mnemonic} | Ev,Gv`,
    `${at(2)} | ${mnemonic} | Gb,Eb`,
    `${at(3)} | ${mnemonic} | Gv,Ev`,
    `${at(4)} | ${mnemonic} | AL,Ib`,
    `${at(5)} | ${mnemonic} | rAX,Iz`,
    `80 /${index} | ${mnemonic} | Eb,Ib`,
    `81 /${index} | ${mnemonic} | Ev,Iz`,
    `82 /${index} | ${mnemonic} | Eb,Ib`,
    `83 /${index} | ${mnemonic} | Ev,Ib`,
  ];
}

function shiftLines(mnemonic: string, digit: number): string[] {
  return [
    `C0 /${digit} | ${mnemonic} | Eb,Ib`,
    `C1 /${digit} | ${mnemonic} | Ev,Ib`,
    `D0 /${digit} | ${mnemonic} | Eb,1`,
    `D1 /${digit} | ${mnemonic} | Ev,1`,
    `D2 /${digit} | ${mnemonic} | Eb,CL`,
    `D3 /${digit} | ${mnemonic} | Ev,CL`,
  ];
}

const GENERATED = [
  ...['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'].flatMap(aluLines),
  ...['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR'].flatMap(shiftLines),
  ...shiftLines('SAR', 7),
  ...CONDITIONS.flatMap((condition, i) => [
    `${hex(0x70 + i)} | J${condition} | Jb`,
    `0F ${hex(0x80 + i)} | J${condition} | Jz`,
    `0F ${hex(0x90 + i)} | SET${condition} | Eb`,
    `0F ${hex(0x40 + i)} | CMOV${condition} | Gv,Ev`,
  ]),
  ...['BT', 'BTS', 'BTR', 'BTC'].flatMap((mnemonic, i) => [
    `0F ${hex(0xa3 + i * 8)} | ${mnemonic} | Ev,Gv | prepare=bit`,
    `0F BA /${4 + i} | ${mnemonic} | Ev,Ib`,
  ]),
  ...['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'].flatMap((mnemonic, i) => [
    `D8 /${i} | ${mnemonic} | Md | x87`,
    `DC /${i} | ${mnemonic} | Mq | x87`,
    `D8 ${hex(0xc0 + i * 8)} +r | ${mnemonic} | ST,ST(i) | x87`,
    `DA /${i} | FI${mnemonic.slice(1)} | Md | x87`,
    `DE /${i} | FI${mnemonic.slice(1)} | Mw | x87`,
  ]),
  // The reversed forms swap places: DC E0+i is FSUBR, DC E8+i is FSUB (table A-18).
  ...['FADD C0', 'FMUL C8', 'FSUBR E0', 'FSUB E8', 'FDIVR F0', 'FDIV F8'].flatMap((entry) => {
    const [mnemonic, at] = entry.split(' ');
    return [
      `DC ${at} +r | ${mnemonic} | ST(i),ST | x87`,
      `DE ${at} +r | ${mnemonic}P | ST(i),ST | x87`,
    ];
  }),
  ...['B', 'E', 'BE', 'U'].flatMap((condition, i) => [
    `DA ${hex(0xc0 + i * 8)} +r | FCMOV${condition} | ST,ST(i) | x87`,
    `DB ${hex(0xc0 + i * 8)} +r | FCMOVN${condition} | ST,ST(i) | x87`,
  ]),
  ...[0x1, 0x2, 0x3].flatMap((row) =>
    (
      [
        ['psrl', 2],
        ['psra', 4],
        ['psll', 6],
      ] as const
    ).flatMap(([name, digit]) => {
      const suffix = ['', 'W', 'D', 'Q'][row];
      if (name === 'psra' && row === 3) return [];
      const group = `0F 7${row} /${digit}`;
      const base = { psrl: 0xd0, psra: 0xe0, psll: 0xf0 }[name] + row;
      const mnemonic = name.toUpperCase() + suffix;
      return [
        `${group} | ${mnemonic} | Nq,Ib | mmx`,
        `66 ${group} | ${mnemonic} | Udq,Ib | sse`,
        `0F ${hex(base)} | ${mnemonic} | Pq,Qq | mmx`,
        `66 0F ${hex(base)} | ${mnemonic} | Vdq,Wdq | sse`,
      ];
    }),
  ),
  '66 0F 73 /3 | PSRLDQ | Udq,Ib | sse',
  '66 0F 73 /7 | PSLLDQ | Udq,Ib | sse',
  // MMX operations that SSE2 has on XMM registers too, at the same opcode behind 66.
  ...(
    '60 PUNPCKLBW,61 PUNPCKLWD,62 PUNPCKLDQ,63 PACKSSWB,64 PCMPGTB,65 PCMPGTW,66 PCMPGTD,' +
    '67 PACKUSWB,68 PUNPCKHBW,69 PUNPCKHWD,6A PUNPCKHDQ,6B PACKSSDW,74 PCMPEQB,75 PCMPEQW,' +
    '76 PCMPEQD,D4 PADDQ,D5 PMULLW,D8 PSUBUSB,D9 PSUBUSW,DA PMINUB,DB PAND,DC PADDUSB,' +
    'DD PADDUSW,DE PMAXUB,DF PANDN,E0 PAVGB,E3 PAVGW,E4 PMULHUW,E5 PMULHW,E8 PSUBSB,E9 PSUBSW,' +
    'EA PMINSW,EB POR,EC PADDSB,ED PADDSW,EE PMAXSW,EF PXOR,F4 PMULUDQ,F5 PMADDWD,F6 PSADBW,' +
    'F8 PSUBB,F9 PSUBW,FA PSUBD,FB PSUBQ,FC PADDB,FD PADDW,FE PADDD'
  )
    .split(',')
    .flatMap((entry) => {
      const [at, mnemonic] = entry.split(' ');
      // The low unpacks read only half of a memory operand: 32 bits, and 128 for
      // XMM (SDM "PUNPCKL…").
      const source = mnemonic!.startsWith('PUNPCKL') ? 'Qd' : 'Qq';
      return [
        `0F ${at} | ${mnemonic} | Pq,${source} | mmx`,
        `66 0F ${at} | ${mnemonic} | Vdq,Wdq | sse`,
      ];
    }),
  '66 0F 6C | PUNPCKLQDQ | Vdq,Wdq | sse',
  '66 0F 6D | PUNPCKHQDQ | Vdq,Wdq | sse',
  // Floating-point operations in four forms: packed and scalar, single and double.
  ...'51 SQRT,58 ADD,59 MUL,5C SUB,5D MIN,5E DIV,5F MAX'.split(',').flatMap((entry) => {
    const [at, name] = entry.split(' ');
    return [
      `0F ${at} | ${name}PS | Vps,Wps | ssef`,
      `66 0F ${at} | ${name}PD | Vpd,Wpd | ssef`,
      `F3 0F ${at} | ${name}SS | Vss,Wss | ssef`,
      `F2 0F ${at} | ${name}SD | Vsd,Wsd | ssef`,
    ];
  }),
];

const TABLE = `
27 | DAA
2F | DAS
37 | AAA
3F | AAS
D4 | AAM | Ib
D5 | AAD | Ib
40 +r | INC | Zv
48 +r | DEC | Zv
FE /0 | INC | Eb
FE /1 | DEC | Eb
FF /0 | INC | Ev
FF /1 | DEC | Ev
50 +r | PUSH | Zv | stack
58 +r | POP | Zv | stack
60 | PUSHA | | o16 stack
61 | POPA | | o16 stack
62 | BOUND | Gv,Ma
63 | ARPL | Ew,Gw
68 | PUSH | Iz | stack
6A | PUSH | Ib | o16 stack
69 | IMUL | Gv,Ev,Iz
6B | IMUL | Gv,Ev,Ib
0F AF | IMUL | Gv,Ev
84 | TEST | Eb,Gb
85 | TEST | Ev,Gv
A8 | TEST | AL,Ib
A9 | TEST | rAX,Iz
86 | XCHG | Eb,Gb
87 | XCHG | Ev,Gv
90 | NOP
91 | XCHG | eCX,rAX | o16
92 | XCHG | eDX,rAX | o16
93 | XCHG | eBX,rAX | o16
94 | XCHG | eSP,rAX | o16
95 | XCHG | eBP,rAX | o16
96 | XCHG | eSI,rAX | o16
97 | XCHG | eDI,rAX | o16
F3 90 | PAUSE
88 | MOV | Eb,Gb
89 | MOV | Ev,Gv
8A | MOV | Gb,Eb
8B | MOV | Gv,Ev
8C | MOV | Ev,Sw
8E | MOV | Sw,Ew | prepare=selector
8D | LEA | Gv,M
8F /0 | POP | Ev | stack
98 | CBW | | o16
99 | CWD | | o16
9A | CALL | Ap | stack prepare=farDirect
EA | JMP | Ap | prepare=farDirect
FF /3 | CALL | Mp | stack prepare=farIndirect
FF /5 | JMP | Mp | prepare=farIndirect
CA | RETF | Iw | o16 stack prepare=farReturn
CB | RETF | | o16 stack prepare=farReturn
CF | IRET | | o16 stack prepare=interruptReturn
9C | PUSHF | | o16 stack
9D | POPF | | o16 stack prepare=popf
9E | SAHF
9F | LAHF
A0 | MOV | AL,Ob
A1 | MOV | rAX,Ov
A2 | MOV | Ob,AL
A3 | MOV | Ov,rAX
A4 | MOVS | Yb,Xb
A5 | MOVS | Yv,Xv
A6 | CMPS | Xb,Yb
A7 | CMPS | Xv,Yv
AA | STOS | Yb,AL
AB | STOS | Yv,rAX
AC | LODS | AL,Xb
AD | LODS | rAX,Xv
AE | SCAS | AL,Yb
AF | SCAS | rAX,Yv
B0 +r | MOV | Zb,Ib
B8 +r | MOV | Zv,Iv
C2 | RET | Iw | o16 stack prepare=return
C3 | RET | | o16 stack prepare=return
C4 | LES | Gv,Mp | prepare=farPointer
C5 | LDS | Gv,Mp | prepare=farPointer
0F B4 | LFS | Gv,Mp | prepare=farPointer
0F B5 | LGS | Gv,Mp | prepare=farPointer
0F B2 | LSS | Gv,Mp | prepare=farPointer
C6 /0 | MOV | Eb,Ib
C7 /0 | MOV | Ev,Iz
C8 | ENTER | Iw,Ib | o16 stack prepare=enter
C9 | LEAVE | | o16 stack prepare=leave
CC | INT3
CD | INT | Ib | prepare=interrupt
CE | INTO
F1 | INT1
06 | PUSH | ES | o16 stack
0E | PUSH | CS | o16 stack
16 | PUSH | SS | o16 stack
1E | PUSH | DS | o16 stack
0F A0 | PUSH | FS | o16 stack
0F A8 | PUSH | GS | o16 stack
07 | POP | ES | o16 stack prepare=popSegment
17 | POP | SS | o16 stack prepare=popSegment
1F | POP | DS | o16 stack prepare=popSegment
0F A1 | POP | FS | o16 stack prepare=popSegment
0F A9 | POP | GS | o16 stack prepare=popSegment
D6 | SALC
D7 | XLAT | | prepare=xlat
E0 | LOOPNE | Jb
E1 | LOOPE | Jb
E2 | LOOP | Jb
E3 | JCXZ | Jb
E8 | CALL | Jz | stack
E9 | JMP | Jz
EB | JMP | Jb
FF /2 | CALL | Ev | stack prepare=target
FF /4 | JMP | Ev | prepare=target
FF /6 | PUSH | Ev | stack
F5 | CMC
F8 | CLC
F9 | STC
FC | CLD
FD | STD
F6 /0 | TEST | Eb,Ib
F7 /0 | TEST | Ev,Iz
F6 /2 | NOT | Eb
F7 /2 | NOT | Ev
F6 /3 | NEG | Eb
F7 /3 | NEG | Ev
F6 /4 | MUL | Eb
F7 /4 | MUL | Ev
F6 /5 | IMUL | Eb
F7 /5 | IMUL | Ev
F6 /6 | DIV | Eb | prepare=divide
F7 /6 | DIV | Ev | prepare=divide
F6 /7 | IDIV | Eb | prepare=divide
F7 /7 | IDIV | Ev | prepare=divide
0F 02 | LAR | Gv,Ew | prepare=selector
0F 03 | LSL | Gv,Ew | prepare=selector
0F 00 /4 | VERR | Ew | prepare=selector
0F 00 /5 | VERW | Ew | prepare=selector
0F 0B | UD2
0F 18 /1 | PREFETCHT0 | Mb
0F 1F /0 | NOP | Ev
0F A4 | SHLD | Ev,Gv,Ib
0F A5 | SHLD | Ev,Gv,CL
0F AC | SHRD | Ev,Gv,Ib
0F AD | SHRD | Ev,Gv,CL
0F B0 | CMPXCHG | Eb,Gb | prepare=compareExchange
0F B1 | CMPXCHG | Ev,Gv | prepare=compareExchange
0F B6 | MOVZX | Gv,Eb
0F B7 | MOVZX | Gv,Ew
0F BE | MOVSX | Gv,Eb
0F BF | MOVSX | Gv,Ew
0F BC | BSF | Gv,Ev
0F BD | BSR | Gv,Ev
0F C0 | XADD | Eb,Gb
0F C1 | XADD | Ev,Gv
0F C7 /1 | CMPXCHG8B | Mq | prepare=compareExchange
0F C8 +r | BSWAP | Zd
0F C3 | MOVNTI | Md,Gd
F4 | HLT | | privileged
FA | CLI | | privileged
FB | STI | | privileged
E4 | IN | AL,Ib | privileged
E5 | IN | eAX,Ib | privileged
E6 | OUT | Ib,AL | privileged
E7 | OUT | Ib,eAX | privileged
EC | IN | AL,DX | privileged
ED | IN | eAX,DX | privileged
EE | OUT | DX,AL | privileged
EF | OUT | DX,eAX | privileged
6C | INS | Yb,DX | privileged
6D | INS | Yv,DX | privileged
6E | OUTS | DX,Xb | privileged
6F | OUTS | DX,Xv | privileged
0F 06 | CLTS | | privileged
0F 08 | INVD | | privileged
0F 09 | WBINVD | | privileged
0F 30 | WRMSR | | privileged
0F 32 | RDMSR | | privileged
0F 00 /2 | LLDT | Ew | privileged
0F 00 /3 | LTR | Ew | privileged
0F 01 /2 | LGDT | Ms | privileged
0F 01 /3 | LIDT | Ms | privileged
0F 01 /6 | LMSW | Ew | privileged
0F 01 /7 | INVLPG | Mb | privileged
9B | FWAIT | | x87
D9 /0 | FLD | Md | x87
D9 /2 | FST | Md | x87
D9 /3 | FSTP | Md | x87
D9 /4 | FLDENV | M28 | o16 x87 prepare=fpuImage
D9 /5 | FLDCW | Mw | x87 prepare=controlWord
D9 /6 | FNSTENV | M28 | o16 x87
D9 /7 | FNSTCW | Mw | x87
D9 C0 +r | FLD | ST(i) | x87
D9 C8 +r | FXCH | ST(i) | x87
D9 D0 | FNOP | | x87
D9 E0 | FCHS | | x87
D9 E1 | FABS | | x87
D9 E4 | FTST | | x87
D9 E5 | FXAM | | x87
D9 E8 | FLD1 | | x87
D9 E9 | FLDL2T | | x87
D9 EA | FLDL2E | | x87
D9 EB | FLDPI | | x87
D9 EC | FLDLG2 | | x87
D9 ED | FLDLN2 | | x87
D9 EE | FLDZ | | x87
D9 F0 | F2XM1 | | x87 prepare=small approximate=x87
D9 F1 | FYL2X | | x87 prepare=positive approximate=x87
D9 F2 | FPTAN | | x87 prepare=angle approximate=x87
D9 F3 | FPATAN | | x87 approximate=x87
D9 F4 | FXTRACT | | x87
D9 F5 | FPREM1 | | x87
D9 F6 | FDECSTP | | x87
D9 F7 | FINCSTP | | x87
D9 F8 | FPREM | | x87
D9 F9 | FYL2XP1 | | x87 prepare=small approximate=x87
D9 FA | FSQRT | | x87
D9 FB | FSINCOS | | x87 prepare=angle approximate=x87
D9 FC | FRNDINT | | x87
D9 FD | FSCALE | | x87
D9 FE | FSIN | | x87 prepare=angle approximate=x87
D9 FF | FCOS | | x87 prepare=angle approximate=x87
DA E9 | FUCOMPP | | x87
DB /0 | FILD | Md | x87
DB /2 | FIST | Md | x87
DB /3 | FISTP | Md | x87
DB /5 | FLD | Mt | x87
DB /7 | FSTP | Mt | x87
DB E2 | FNCLEX | | x87
DB E3 | FNINIT | | x87
DB E8 +r | FUCOMI | ST,ST(i) | x87
DB F0 +r | FCOMI | ST,ST(i) | x87
DD /0 | FLD | Mq | x87
DD /2 | FST | Mq | x87
DD /3 | FSTP | Mq | x87
DD /4 | FRSTOR | M108 | o16 x87 prepare=fpuImage
DD /6 | FNSAVE | M108 | o16 x87
DD /7 | FNSTSW | Mw | x87
DD C0 +r | FFREE | ST(i) | x87
DD D0 +r | FST | ST(i) | x87
DD D8 +r | FSTP | ST(i) | x87
DD E0 +r | FUCOM | ST(i) | x87
DD E8 +r | FUCOMP | ST(i) | x87
DE D9 | FCOMPP | | x87
DF /0 | FILD | Mw | x87
DF /2 | FIST | Mw | x87
DF /3 | FISTP | Mw | x87
DF /4 | FBLD | Mt | x87 prepare=packedDecimal
DF /5 | FILD | Mq | x87
DF /6 | FBSTP | Mt | x87
DF /7 | FISTP | Mq | x87
DF E0 | FNSTSW | AX | x87
DF E8 +r | FUCOMIP | ST,ST(i) | x87
DF F0 +r | FCOMIP | ST,ST(i) | x87
0F 77 | EMMS | | mmx
0F 6E | MOVD | Pd,Ed | mmx
0F 7E | MOVD | Ed,Pd | mmx
0F 6F | MOVQ | Pq,Qq | mmx
0F 7F | MOVQ | Qq,Pq | mmx
0F 70 | PSHUFW | Pq,Qq,Ib | mmx
0F C4 | PINSRW | Pq,Ew,Ib | mmx
0F C5 | PEXTRW | Gd,Nq,Ib | mmx
0F D7 | PMOVMSKB | Gd,Nq | mmx
0F E7 | MOVNTQ | Mq,Pq | mmx
0F F7 | MASKMOVQ | Pq,Nq | mmx prepare=maskedMove
66 0F 6E | MOVD | Vd,Ed | sse
66 0F 7E | MOVD | Ed,Vd | sse
66 0F 6F | MOVDQA | Vdq,Wdq | sse
66 0F 7F | MOVDQA | Wdq,Vdq | sse
F3 0F 6F | MOVDQU | Vdq,Wu | sse
F3 0F 7F | MOVDQU | Wu,Vdq | sse
F3 0F 7E | MOVQ | Vq,Wq | sse
66 0F D6 | MOVQ | Wq,Vq | sse
66 0F 70 | PSHUFD | Vdq,Wdq,Ib | sse
F3 0F 70 | PSHUFHW | Vdq,Wdq,Ib | sse
F2 0F 70 | PSHUFLW | Vdq,Wdq,Ib | sse
66 0F C4 | PINSRW | Vdq,Ew,Ib | sse
66 0F C5 | PEXTRW | Gd,Udq,Ib | sse
66 0F D7 | PMOVMSKB | Gd,Udq | sse
66 0F E7 | MOVNTDQ | Mdq,Vdq | sse
66 0F F7 | MASKMOVDQU | Vdq,Udq | sse prepare=maskedMove
F3 0F D6 | MOVQ2DQ | Vdq,Nq | sse
F2 0F D6 | MOVDQ2Q | Pq,Uq | sse
0F 10 | MOVUPS | Vps,Wu | sse
0F 11 | MOVUPS | Wu,Vps | sse
66 0F 10 | MOVUPD | Vpd,Wu | sse
66 0F 11 | MOVUPD | Wu,Vpd | sse
F3 0F 10 | MOVSS | Vss,Wss | sse
F3 0F 11 | MOVSS | Wss,Vss | sse
F2 0F 10 | MOVSD | Vsd,Wsd | sse
F2 0F 11 | MOVSD | Wsd,Vsd | sse
0F 12 | MOVLPS | Vq,Wq | sse
0F 13 | MOVLPS | Mq,Vq | sse
66 0F 12 | MOVLPD | Vq,Mq | sse
66 0F 13 | MOVLPD | Mq,Vq | sse
0F 14 | UNPCKLPS | Vps,Wps | sse
66 0F 14 | UNPCKLPD | Vpd,Wpd | sse
0F 15 | UNPCKHPS | Vps,Wps | sse
66 0F 15 | UNPCKHPD | Vpd,Wpd | sse
0F 16 | MOVHPS | Vq,Wq | sse
0F 17 | MOVHPS | Mq,Vq | sse
66 0F 16 | MOVHPD | Vq,Mq | sse
66 0F 17 | MOVHPD | Mq,Vq | sse
0F 28 | MOVAPS | Vps,Wps | sse
0F 29 | MOVAPS | Wps,Vps | sse
66 0F 28 | MOVAPD | Vpd,Wpd | sse
66 0F 29 | MOVAPD | Wpd,Vpd | sse
0F 2B | MOVNTPS | Mps,Vps | sse
66 0F 2B | MOVNTPD | Mpd,Vpd | sse
0F 50 | MOVMSKPS | Gd,Ups | sse
66 0F 50 | MOVMSKPD | Gd,Upd | sse
0F 2A | CVTPI2PS | Vps,Qq | ssef
66 0F 2A | CVTPI2PD | Vpd,Qq | ssef
F3 0F 2A | CVTSI2SS | Vss,Ed | ssef
F2 0F 2A | CVTSI2SD | Vsd,Ed | ssef
0F 2C | CVTTPS2PI | Pq,Wq | ssef
66 0F 2C | CVTTPD2PI | Pq,Wpd | ssef
F3 0F 2C | CVTTSS2SI | Gd,Wss | ssef
F2 0F 2C | CVTTSD2SI | Gd,Wsd | ssef
0F 2D | CVTPS2PI | Pq,Wq | ssef
66 0F 2D | CVTPD2PI | Pq,Wpd | ssef
F3 0F 2D | CVTSS2SI | Gd,Wss | ssef
F2 0F 2D | CVTSD2SI | Gd,Wsd | ssef
0F 5A | CVTPS2PD | Vpd,Wq | ssef
66 0F 5A | CVTPD2PS | Vps,Wpd | ssef
F3 0F 5A | CVTSS2SD | Vsd,Wss | ssef
F2 0F 5A | CVTSD2SS | Vss,Wsd | ssef
0F 5B | CVTDQ2PS | Vps,Wdq | ssef
66 0F 5B | CVTPS2DQ | Vdq,Wps | ssef
F3 0F 5B | CVTTPS2DQ | Vdq,Wps | ssef
66 0F E6 | CVTTPD2DQ | Vdq,Wpd | ssef
F3 0F E6 | CVTDQ2PD | Vpd,Wq | ssef
F2 0F E6 | CVTPD2DQ | Vdq,Wpd | ssef
0F 2E | UCOMISS | Vss,Wss | ssef
66 0F 2E | UCOMISD | Vsd,Wsd | ssef
0F 2F | COMISS | Vss,Wss | ssef
66 0F 2F | COMISD | Vsd,Wsd | ssef
0F 52 | RSQRTPS | Vps,Wps | ssef approximate=sse
F3 0F 52 | RSQRTSS | Vss,Wss | ssef approximate=sse
0F 53 | RCPPS | Vps,Wps | ssef approximate=sse
F3 0F 53 | RCPSS | Vss,Wss | ssef approximate=sse
0F 54 | ANDPS | Vps,Wps | sse
66 0F 54 | ANDPD | Vpd,Wpd | sse
0F 55 | ANDNPS | Vps,Wps | sse
66 0F 55 | ANDNPD | Vpd,Wpd | sse
0F 56 | ORPS | Vps,Wps | sse
66 0F 56 | ORPD | Vpd,Wpd | sse
0F 57 | XORPS | Vps,Wps | sse
66 0F 57 | XORPD | Vpd,Wpd | sse
0F C2 | CMPPS | Vps,Wps,Ib | ssef prepare=predicate
66 0F C2 | CMPPD | Vpd,Wpd,Ib | ssef prepare=predicate
F3 0F C2 | CMPSS | Vss,Wss,Ib | ssef prepare=predicate
F2 0F C2 | CMPSD | Vsd,Wsd,Ib | ssef prepare=predicate
0F C6 | SHUFPS | Vps,Wps,Ib | sse
66 0F C6 | SHUFPD | Vpd,Wpd,Ib | sse
0F AE /2 | LDMXCSR | Md | sse prepare=mxcsr
0F AE /3 | STMXCSR | Md | sse
0F AE /7 | CLFLUSH | Mb
0F AE E8 | LFENCE
0F AE F0 | MFENCE
0F AE F8 | SFENCE
F6 /1 | TEST | Eb,Ib
F7 /1 | TEST | Ev,Iz
C0 /6 | SHL | Eb,Ib
C1 /6 | SHL | Ev,Ib
D0 /6 | SHL | Eb,1
D1 /6 | SHL | Ev,1
D2 /6 | SHL | Eb,CL
D3 /6 | SHL | Ev,CL
0F 0D /1 | PREFETCHW | Mb
0F 19 | NOP | Ev
0F 1A | NOP | Ev
0F 1B | NOP | Ev
0F 1C | NOP | Ev
0F 1D | NOP | Ev
0F 1E | NOP | Ev
DC D0 +r | FCOM | ST(i) | x87
DC D8 +r | FCOMP | ST(i) | x87
DE D0 +r | FCOMP | ST(i) | x87
DB E0 | FNOP | | x87
DB E1 | FNOP | | x87
DB E4 | FNOP | | x87
DD C8 +r | FXCH | ST(i) | x87
DF C8 +r | FXCH | ST(i) | x87
DF D0 +r | FSTP | ST(i) | x87
DF D8 +r | FSTP | ST(i) | x87
DF C0 +r | FFREE | ST(i) | x87
`;

function parse(line: string): Form {
  const [opcode, mnemonic, operands = '', options = ''] = line.split('|').map((s) => s.trim());
  const words = options.split(' ').filter((word) => word !== '');
  return {
    opcode: opcode!,
    mnemonic: mnemonic!,
    operands: operands === '' ? [] : operands.split(','),
    options: new Set(words.filter((word) => !word.includes('='))),
    settings: new Map(
      words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]),
    ),
  };
}

/** All of them, in no special order. */
export const FORMS: readonly Form[] = [...GENERATED, ...TABLE.trim().split('\n')].map(parse);
