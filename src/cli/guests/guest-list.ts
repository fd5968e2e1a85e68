// The guests that Quire knows, and the packages of Debian that they come from.

/** A file to take out of a package. */
export interface GuestPart {
  /** Package, with its architecture. A metapackage is followed to the one that has the file. */
  readonly packageName: string;
  /** The dependency of `packageName` that carries the file, if that is another package. */
  readonly follow?: RegExp;
  /** Where the file may lie; the first match counts. */
  readonly patterns: readonly string[];
  readonly role: PartRole;
}

/** What a file is for; `busybox` becomes an initial RAM disk. */
export type PartRole = 'kernel' | 'initrd' | 'busybox' | 'cdrom' | 'floppy' | 'bios' | 'vgabios';

/** A guest and how it is started, where the command line does not say otherwise. */
export interface Guest {
  readonly name: string;
  readonly summary: string;
  readonly parts: readonly GuestPart[];
  readonly memoryBytes: number;
  readonly append: string;
}

const MIB = 2 ** 20;
/** The guest whose files are the firmware of all others. */
export const FIRMWARE_GUEST = 'seabios';

const BUSYBOX: GuestPart = {
  packageName: 'busybox-static:i386',
  patterns: ['./bin/busybox', './usr/bin/busybox'],
  role: 'busybox',
};

/** `cryptomgr.notests` leaves out self-tests that take longer than the rest of the boot. */
const LINUX_APPEND = 'console=ttyS0,115200 cryptomgr.notests';

export const GUESTS: readonly Guest[] = [
  {
    name: 'debian-686',
    summary: 'Debian kernel for 32-bit processors, BusyBox shell on the serial line',
    parts: [
      {
        packageName: 'linux-image-686:i386',
        follow: /^linux-image-[\d.-]+-686$/,
        patterns: ['./boot/vmlinuz-*'],
        role: 'kernel',
      },
      BUSYBOX,
    ],
    memoryBytes: 128 * MIB,
    append: LINUX_APPEND,
  },
  {
    name: 'debian-686-pae',
    summary: 'The same with PAE page tables',
    parts: [
      {
        packageName: 'linux-image-686-pae:i386',
        follow: /^linux-image-[\d.-]+-686-pae$/,
        patterns: ['./boot/vmlinuz-*'],
        role: 'kernel',
      },
      BUSYBOX,
    ],
    memoryBytes: 128 * MIB,
    append: LINUX_APPEND,
  },
  {
    name: 'memtest86+',
    summary: 'Memory tester, on the serial line',
    parts: [
      {
        packageName: 'memtest86+:i386',
        patterns: ['./boot/memtest86+ia32.bin'],
        role: 'kernel',
      },
    ],
    memoryBytes: 16 * MIB,
    append: 'console=ttyS0,115200',
  },
  {
    name: 'debian-installer',
    summary: 'Debian 12 installer, text, started directly',
    parts: (['linux', 'initrd.gz'] as const).map((file) => ({
      packageName: 'debian-installer-12-netboot-i386',
      patterns: [`*/images/12/i386/text/debian-installer/i386/${file}`],
      role: file === 'linux' ? 'kernel' : 'initrd',
    })),
    memoryBytes: 512 * MIB,
    // The installer stays on the text screen without a driver for the display.
    append: 'nomodeset',
  },
  {
    name: FIRMWARE_GUEST,
    summary: 'SeaBIOS and its video BIOS: what starts media',
    parts: [
      {
        packageName: 'seabios',
        patterns: ['./usr/share/seabios/bios-256k.bin'],
        role: 'bios',
      },
      {
        packageName: 'seabios',
        patterns: ['./usr/share/seabios/vgabios-stdvga.bin'],
        role: 'vgabios',
      },
    ],
    memoryBytes: 32 * MIB,
    append: '',
  },
  {
    name: 'memtest86+iso',
    summary: 'Memory tester on its CD, through firmware',
    parts: [
      {
        packageName: 'memtest86+:i386',
        patterns: ['./usr/lib/memtest86+/memtest86+ia32.iso', './usr/lib/memtest86+/*.iso'],
        role: 'cdrom',
      },
    ],
    memoryBytes: 16 * MIB,
    append: '',
  },
  {
    name: 'grub-cdrom',
    summary: 'GRUB on its rescue CD, through firmware',
    parts: [
      {
        packageName: 'grub-rescue-pc',
        patterns: ['./usr/lib/grub-rescue/grub-rescue-cdrom.iso'],
        role: 'cdrom',
      },
    ],
    memoryBytes: 64 * MIB,
    append: '',
  },
  {
    name: 'grub-floppy',
    summary: 'GRUB on its rescue floppy disk, through firmware',
    parts: [
      {
        packageName: 'grub-rescue-pc',
        patterns: ['./usr/lib/grub-rescue/grub-rescue-floppy.img'],
        role: 'floppy',
      },
    ],
    memoryBytes: 64 * MIB,
    append: '',
  },
  {
    name: 'ipxe',
    summary: 'iPXE on its CD, through firmware',
    parts: [{ packageName: 'ipxe', patterns: ['./usr/lib/ipxe/ipxe.iso'], role: 'cdrom' }],
    memoryBytes: 64 * MIB,
    append: '',
  },
];
