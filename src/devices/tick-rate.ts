// Ticks of an oscillator from nanoseconds of virtual time and back, exact for days and years.

const NS_PER_SECOND = 1_000_000_000;

/**
 * Whole ticks of an oscillator of `hz` after `ns`. Seconds and the rest are taken apart so that no
 * product passes 2^53: exact for `hz` up to 9 MHz.
 */
export function ticksOfNs(ns: number, hz: number): number {
  const whole = Math.floor(ns);
  const seconds = Math.floor(whole / NS_PER_SECOND);
  const rest = whole - seconds * NS_PER_SECOND;
  return seconds * hz + Math.floor((rest * hz) / NS_PER_SECOND);
}

/** The first whole nanosecond at which `ticksOfNs` gives `ticks`. */
export function nsOfTicks(ticks: number, hz: number): number {
  const seconds = Math.floor(ticks / hz);
  const rest = ticks - seconds * hz;
  return seconds * NS_PER_SECOND + Math.ceil((rest * NS_PER_SECOND) / hz);
}
