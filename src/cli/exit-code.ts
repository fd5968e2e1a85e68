// How `quire` ends, for scripts. docs/cli.md lists the same.

/** All is well: the guest powered off, the pattern matched, or the user left. */
export const EXIT_OK = 0;
/** Something failed: a file, the host, or the guest ended before `--exit-on` matched. */
export const EXIT_ERROR = 1;
/** The command line makes no sense. */
export const EXIT_USAGE = 2;
/** `--timeout` passed first. */
export const EXIT_TIMEOUT = 3;
/** The guest stopped by a disaster of its own, such as a triple fault. */
export const EXIT_GUEST_DISASTER = 4;
/** A signal ended the run: this plus its number, as shells do (130 for SIGINT). */
export const EXIT_SIGNAL = 128;
