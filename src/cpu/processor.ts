// The system half of the processor, tied together: what instruction rows and run loops call.
// Every method takes and returns plain numbers and booleans, and never throws
// for what a guest does.
//
// Contract with an engine:
// - Before a call EIP is the current instruction, NEXT_EIP the one behind it.
// - A method that faults records the exception and changes nothing else; the run loop then calls
//   deliverPendingException(), EIP still at the instruction.
// - A method that transfers control sets EIP and asks for ATTENTION_JUMP.
// - INTERRUPT_SHADOW is 1 behind STI, 2 behind a load of SS. While it is not 0 the run loop takes
//   no interrupt: it sets it to 0, runs one instruction, and looks again.
// - While debug.needsStepping the run loop goes one instruction at a time, with
//   debug.beforeInstruction(linear) and debug.afterInstruction() around each; otherwise it calls
//   debug.afterInstruction() once per ATTENTION_EVENT.

import { Control } from './control.ts';
import { CR4_TSD, VECTOR_GP, VECTOR_UD } from './control-bits.ts';
import { readCPUID } from './cpuid.ts';
import { DebugUnit } from './debug.ts';
import { DescriptorTables } from './descriptor-tables.ts';
import { type EngineHooks, NO_HOOKS } from './engine-hooks.ts';
import { Exceptions } from './exceptions.ts';
import { FarTransfer } from './far-transfer.ts';
import { FlagControl, SHADOW_STACK } from './flag-control.ts';
import { FLAG_OF } from './flags.ts';
import { InterruptReturn } from './iret.ts';
import { MMU } from './mmu.ts';
import { ModelSpecificRegisters } from './msr.ts';
import { PortAccess } from './port-access.ts';
import { reportState } from './report.ts';
import { resetState } from './reset.ts';
import { Segmentation } from './segmentation.ts';
import { StackFrame } from './stack.ts';
import type { CPUState } from './state.ts';
import { CR4, CS, HALTED, INTERRUPT_SHADOW, SS } from './state-layout.ts';
import { TaskSwitch } from './task-switch.ts';
import type { CPUWiring, MachineMemory } from './vcpu.ts';

export type { EngineHooks } from './engine-hooks.ts';

const APIC_ENABLE = 0x800;

export class Processor {
  readonly state: CPUState;
  readonly mmu: MMU;
  readonly segmentation: Segmentation;
  readonly debug: DebugUnit;
  readonly control: Control;
  readonly exceptions: Exceptions;
  readonly msrs: ModelSpecificRegisters;
  readonly ports: PortAccess;
  readonly tables: DescriptorTables;
  readonly #wiring: CPUWiring;
  readonly #stack: StackFrame;
  readonly #transfer: FarTransfer;
  readonly #return: InterruptReturn;
  readonly #flags: FlagControl;
  readonly #leaf = new Uint32Array(4);

  /** The state is as it was: call reset(), or write it and call synchronize(). */
  constructor(
    state: CPUState,
    wiring: CPUWiring,
    memory: Pick<MachineMemory, 'tlb'>,
    hooks: EngineHooks = NO_HOOKS,
  ) {
    this.state = state;
    this.#wiring = wiring;
    const debug = new DebugUnit(state);
    const mmu = new MMU(state, wiring.memory, memory.tlb, debug);
    const segmentation = new Segmentation(state, mmu, memory.tlb);
    const stack = new StackFrame(state, mmu, segmentation);
    const innerStack = new StackFrame(state, mmu, segmentation);
    const control = new Control({ state, mmu, segmentation, debug, hooks });
    const tasks = new TaskSwitch(state, mmu, segmentation, debug, control);
    const parts = { state, mmu, segmentation, stack, innerStack, tasks, debug };
    const exceptions = new Exceptions(parts);
    const transfer = new FarTransfer({ ...parts, exceptions });
    this.debug = debug;
    this.mmu = mmu;
    this.segmentation = segmentation;
    this.control = control;
    this.exceptions = exceptions;
    this.msrs = new ModelSpecificRegisters(state, wiring);
    this.ports = new PortAccess({ ...parts, ports: wiring.ports });
    this.tables = new DescriptorTables(state, mmu, segmentation);
    this.#stack = stack;
    this.#transfer = transfer;
    this.#return = new InterruptReturn({ ...parts, transfer });
    this.#flags = new FlagControl(state, mmu, segmentation, stack);
  }

  // ---- Run loop

  /** Power-on state; translations and the engine's look-ups are forgotten. */
  reset(): void {
    resetState(this.state, this.segmentation);
    this.exceptions.shutdownReason = '';
    this.synchronize();
  }

  /**
   * After state was written from outside: recomputes what follows from it, forgets translations.
   */
  synchronize(): void {
    for (let segment = 0; segment < 8; segment++) this.segmentation.updateSpans(segment);
    this.segmentation.updateMode();
    this.debug.refresh();
    this.mmu.updateAlignmentCheck();
    this.control.mappingChanged(true);
    this.state.requestEvent();
  }

  /** Delivers the exception that waits; 'shutdown' after a triple fault (see shutdownReason). */
  deliverPendingException(): 'ok' | 'shutdown' {
    return this.exceptions.deliverPending();
  }

  /** Why deliverPendingException() said 'shutdown'. */
  get shutdownReason(): string {
    return this.exceptions.shutdownReason;
  }

  /** Delivers an external interrupt; if false, an exception waits in its place. */
  deliverInterrupt(vector: number): boolean {
    return this.exceptions.deliverInterrupt(vector);
  }

  /** Delivers an NMI; if false, an exception waits in its place. */
  deliverNMI(): boolean {
    return this.exceptions.deliverNMI();
  }

  setA20(isEnabled: boolean): void {
    this.control.setA20(isEnabled);
  }

  /** State for people, several lines, in the manner of QEMU's `info registers`. */
  report(): string {
    return reportState(this.state, this.mmu);
  }

  // ---- Information

  /** CPUID: EAX → EAX EBX ECX EDX. */
  cpuid(): void {
    const state = this.state;
    const isEnabled = (this.#wiring.readAPICBase() & APIC_ENABLE) !== 0;
    readCPUID(state.reg32(0), isEnabled, this.#leaf);
    state.setReg32(0, this.#leaf[0]!);
    state.setReg32(3, this.#leaf[1]!);
    state.setReg32(1, this.#leaf[2]!);
    state.setReg32(2, this.#leaf[3]!);
  }

  rdmsr(): void {
    this.msrs.read();
  }

  /** WRMSR; a change of EFER.NXE changes mappings. */
  wrmsr(): void {
    if (this.msrs.write() && this.state.reg32(1) === 0xc000_0080) this.control.mappingChanged(true);
  }

  /** RDTSC; EDX:EAX. #GP(0) with CR4.TSD above CPL 0. */
  rdtsc(): void {
    if (this.state.cpl !== 0 && (this.state.get32(CR4) & CR4_TSD) !== 0) {
      this.state.raiseException(VECTOR_GP, 0);
      return;
    }
    const value = this.msrs.readTSC();
    this.state.setReg32(0, Number(value & 0xffff_ffffn));
    this.state.setReg32(2, Number(value >> 32n));
  }

  /** RDPMC: no counters are implemented, so every index is #GP(0), as one too high is. */
  rdpmc(): void {
    this.state.raiseException(VECTOR_GP, 0);
  }

  // ---- Processor control

  /** HLT: the run loop advances EIP, then sees HALTED. */
  hlt(): void {
    if (!this.control.requirePrivilege()) return;
    this.state.set32(HALTED, 1);
    this.state.requestEvent();
  }

  /** WBINVD and INVD: caches are not modelled; only the privilege is checked. */
  wbinvd(): void {
    this.control.requirePrivilege();
  }

  invlpg(linear: number): void {
    this.control.invlpg(linear);
  }

  clts(): void {
    this.control.clts();
  }

  smsw(): number {
    return this.control.readMachineStatus();
  }

  lmsw(value: number): void {
    this.control.loadMachineStatus(value);
  }

  /** MOV r32, CRn: the value, or 0 with a fault recorded. */
  movFromCR(register: number): number {
    return this.control.read(register);
  }

  movToCR(register: number, value: number): void {
    this.control.write(register, value >>> 0);
  }

  /** MOV r32, DRn: the value, or 0 with a fault recorded. */
  movFromDR(register: number): number {
    return this.debug.read(register) ?? 0;
  }

  movToDR(register: number, value: number): void {
    this.control.writeDebug(register, value >>> 0);
  }

  // ---- Flags

  cli(): void {
    this.#flags.cli();
  }

  sti(): void {
    this.#flags.sti();
  }

  pushf16(): void {
    this.#flags.pushf(2);
  }

  pushf32(): void {
    this.#flags.pushf(4);
  }

  popf16(): void {
    this.#flags.popf(2);
  }

  popf32(): void {
    this.#flags.popf(4);
  }

  // ---- Interrupts and far transfers; operandSize is 2 or 4 bytes

  iret16(): void {
    this.#return.iret(2);
  }

  iret32(): void {
    this.#return.iret(4);
  }

  /** INT n. */
  interrupt(vector: number): void {
    this.exceptions.softwareInterrupt(vector);
  }

  int3(): void {
    this.exceptions.trap(3);
  }

  /** INTO: interrupt 4 if OF is set. */
  into(): void {
    if ((this.state.eflags & FLAG_OF) !== 0) this.exceptions.trap(4);
  }

  /** INT1, also called ICEBP. */
  int1(): void {
    this.exceptions.icebp();
  }

  farJump(selector: number, offset: number, operandSize: number): void {
    this.#transfer.jump(selector & 0xffff, offset, operandSize);
  }

  farCall(selector: number, offset: number, operandSize: number): void {
    this.#transfer.call(selector & 0xffff, offset, operandSize);
  }

  retFar(releaseBytes: number, operandSize: number): void {
    this.#transfer.ret(releaseBytes & 0xffff, operandSize);
  }

  sysenter(): void {
    this.#transfer.sysenter();
  }

  sysexit(): void {
    this.#transfer.sysexit();
  }

  // ---- Segment registers

  /** MOV Sreg: #UD for CS. A load of SS holds interrupts back for one instruction. */
  movToSegment(segment: number, selector: number): void {
    if (segment === CS || segment > 5) this.state.raiseException(VECTOR_UD);
    else if (this.segmentation.loadSegment(segment, selector)) this.#shadowStack(segment);
  }

  /** POP Sreg: the pointer moves only once the load has succeeded. */
  popSegment(segment: number, operandSize: number): void {
    const stack = this.#stack;
    stack.openCurrent();
    const selector = stack.pop(operandSize === 2 ? 2 : 4) & 0xffff;
    if (this.state.hasException || !this.segmentation.loadSegment(segment, selector)) return;
    // Of the old SS: the pop was one of the old stack, and its size decides SP or ESP.
    stack.commit();
    this.#shadowStack(segment);
  }

  /**
   * LDS LES LFS LGS LSS: loads the segment register; the caller, having read both parts, writes
   * the general register if no exception waits.
   */
  loadFarPointer(segment: number, selector: number): void {
    this.segmentation.loadSegment(segment, selector);
  }

  #shadowStack(segment: number): void {
    if (segment !== SS) return;
    this.state.set32(INTERRUPT_SHADOW, SHADOW_STACK);
    this.state.requestEvent();
  }

  /**
   * Exact check of an access, for what a span does not vouch for: its linear address, or -1 with a
   * fault recorded. As 32 bits -1 is an address too: look at the exception.
   */
  checkAccess(segment: number, offset: number, sizeBytes: number, isWrite: number): number {
    return this.segmentation.checkAccess(segment, offset, sizeBytes, isWrite !== 0);
  }

  // ---- Descriptor tables; `linear` is the operand, its segment checked for 6 bytes

  lgdt(linear: number, operandSize: number): void {
    this.tables.lgdt(linear >>> 0, operandSize);
  }

  lidt(linear: number, operandSize: number): void {
    this.tables.lidt(linear >>> 0, operandSize);
  }

  sgdt(linear: number): void {
    this.tables.sgdt(linear >>> 0);
  }

  sidt(linear: number): void {
    this.tables.sidt(linear >>> 0);
  }

  lldt(selector: number): void {
    this.tables.lldt(selector & 0xffff);
  }

  ltr(selector: number): void {
    this.tables.ltr(selector & 0xffff);
  }

  /** SLDT and STR: the selector, or 0 with #UD recorded outside protected mode. */
  sldt(): number {
    return this.tables.sldt();
  }

  str(): number {
    return this.tables.str();
  }

  /** LAR and LSL: ZF says whether the result counts. */
  lar(selector: number): number {
    return this.tables.lar(selector & 0xffff);
  }

  lsl(selector: number): number {
    return this.tables.lsl(selector & 0xffff);
  }

  verr(selector: number): void {
    this.tables.verr(selector & 0xffff);
  }

  verw(selector: number): void {
    this.tables.verw(selector & 0xffff);
  }

  // ---- Ports

  /** Whether the access is allowed, 1 or 0 with #GP(0) recorded; for INS and OUTS. */
  checkPortAccess(port: number, sizeBytes: number): number {
    return this.ports.check(port & 0xffff, sizeBytes) ? 1 : 0;
  }

  portRead(port: number, sizeBytes: number): number {
    return this.ports.read(port, sizeBytes);
  }

  portWrite(port: number, sizeBytes: number, value: number): void {
    this.ports.write(port, sizeBytes, value);
  }

  /** IN: the value, or 0 with a fault recorded. */
  in(port: number, sizeBytes: number): number {
    return this.ports.check(port & 0xffff, sizeBytes) ? this.ports.read(port, sizeBytes) : 0;
  }

  out(port: number, sizeBytes: number, value: number): void {
    if (this.ports.check(port & 0xffff, sizeBytes)) this.ports.write(port, sizeBytes, value);
  }
}
