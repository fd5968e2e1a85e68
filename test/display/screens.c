// A guest without an operating system that sets one video mode by its registers and draws in it:
// the digit or letter of its command line says which. It says READY on COM1 and stands still.
// Register values: IBM VGA XGA Technical Reference, tables of the BIOS modes; QEMU, "Standard VGA".

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define MULTIBOOT_MAGIC 0x1badb002u

__attribute__((section(".multiboot"), aligned(4), used)) static const u32 header[] = {
    MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC};

static inline void out8(u16 port, u8 value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
static inline void out16(u16 port, u16 value) {
  __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}
static inline void out32(u16 port, u32 value) {
  __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
static inline u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// Miscellaneous, 5 of the sequencer, 25 of the CRTC, 9 of the graphics controller, 21 attributes.
typedef u8 Mode[61];

static const Mode TEXT = {
    0x67, 0x03, 0x00, 0x03, 0x00, 0x02,
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x20, 0x0e, 0x00, 0x00, 0x00, 0x00,
    0x9c, 0x0e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x04, 0x00, 0x0f, 0x08, 0x00};
static const Mode CGA = {
    0x63, 0x03, 0x09, 0x03, 0x00, 0x02,
    0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x9c, 0x0e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x0f, 0x00, 0xff,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x01, 0x00, 0x03, 0x00, 0x00};
static const Mode PLANAR = {
    0xe3, 0x03, 0x01, 0x0f, 0x00, 0x06,
    0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xea, 0x0c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x01, 0x00, 0x0f, 0x00, 0x00};
static const Mode PACKED = {
    0x63, 0x03, 0x01, 0x0f, 0x00, 0x0e,
    0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x9c, 0x0e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x41, 0x00, 0x0f, 0x00, 0x00};
static const Mode UNCHAINED = {
    0xe3, 0x03, 0x01, 0x0f, 0x00, 0x06,
    0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0x00, 0x41, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xea, 0x0c, 0xdf, 0x28, 0x00, 0xe7, 0x06, 0xe3, 0xff,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x41, 0x00, 0x0f, 0x00, 0x00};

static void set(u16 port, u8 index, u8 value) {
  out8(port, index);
  out8(port + 1, value);
}

static void attribute(u8 index, u8 value) {
  in8(0x3da);
  out8(0x3c0, index);
  out8(0x3c0, value);
  out8(0x3c0, 0x20);
}

static void load(const u8 *mode) {
  out8(0x3c2, *mode++);
  for (int i = 0; i < 5; i++) set(0x3c4, i, *mode++);
  set(0x3d4, 0x11, 0);
  for (int i = 0; i < 25; i++) set(0x3d4, i, *mode++);
  for (int i = 0; i < 9; i++) set(0x3ce, i, *mode++);
  in8(0x3da);
  for (int i = 0; i < 21; i++) {
    out8(0x3c0, i);
    out8(0x3c0, *mode++);
  }
  out8(0x3c0, 0x20);
  out8(0x3c6, 0xff);
  out8(0x3c8, 0);
  for (int i = 0; i < 256; i++) {
    out8(0x3c9, (i * 5) & 0x3f);
    out8(0x3c9, (i * 11 + 7) & 0x3f);
    out8(0x3c9, (63 - i) & 0x3f);
  }
}

#define A0000 ((volatile u8 *)0xa0000)
#define B8000 ((volatile u8 *)0xb8000)

static void clear_planes(void) {
  for (int i = 0; i < 0x10000; i++) A0000[i] = 0;
}

static void text(void) {
  load(TEXT);
  // The font: plane 2, one byte after the other.
  set(0x3c4, 2, 4);
  set(0x3c4, 4, 6);
  set(0x3ce, 5, 0);
  set(0x3ce, 6, 4);
  for (int code = 0; code < 256; code++)
    for (int line = 0; line < 32; line++) A0000[code * 32 + line] = (code * 37) ^ (line * 91);
  set(0x3c4, 2, 3);
  set(0x3c4, 4, 2);
  set(0x3ce, 5, 0x10);
  set(0x3ce, 6, 0x0e);
  for (int i = 0; i < 80 * 25; i++) {
    // QEMU continues the eighth dot from 0xb0 on, IBM's VGA from 0xc0.
    B8000[i * 2] = ((i * 3) & 0xf0) == 0xb0 ? 'x' : i * 3;
    B8000[i * 2 + 1] = i / 7;
  }
}

static void cga(void) {
  load(CGA);
  for (int i = 0; i < 0x4000; i++) B8000[i] = i * 7 + (i >> 6);
}

static void planar(void) {
  load(PLANAR);
  clear_planes();
  // Write mode 0: each plane of its own.
  for (int plane = 0; plane < 4; plane++) {
    set(0x3c4, 2, 1 << plane);
    for (int y = 0; y < 120; y++)
      for (int x = 0; x < 80; x++) A0000[y * 80 + x] = (x * (plane + 3)) ^ (y << plane);
  }
  set(0x3c4, 2, 15);
  // Set and reset with a bit mask and latches: a filled box over it.
  set(0x3ce, 0, 6);
  set(0x3ce, 1, 0xf);
  set(0x3ce, 8, 0x3c);
  for (int y = 40; y < 200; y++)
    for (int x = 20; x < 60; x++) {
      A0000[y * 80 + x];
      A0000[y * 80 + x] = 0xff;
    }
  // Write mode 2, with the latches exclusive-ored.
  set(0x3ce, 1, 0);
  set(0x3ce, 8, 0xf0);
  set(0x3ce, 3, 0x18);
  set(0x3ce, 5, 2);
  for (int y = 100; y < 300; y++)
    for (int x = 10; x < 70; x++) {
      A0000[y * 80 + x];
      A0000[y * 80 + x] = x + y;
    }
  // Write mode 3, rotated.
  set(0x3ce, 3, 3);
  set(0x3ce, 8, 0xff);
  set(0x3ce, 0, 9);
  set(0x3ce, 5, 3);
  for (int y = 280; y < 360; y++)
    for (int x = 0; x < 80; x++) {
      A0000[y * 80 + x];
      A0000[y * 80 + x] = x * 5 + y;
    }
  // Write mode 1 copies what was read.
  set(0x3ce, 5, 1);
  for (int i = 0; i < 80 * 100; i++) {
    A0000[i + 60 * 80];
    A0000[i + 380 * 80] = 0;
  }
}

static void packed(void) {
  load(PACKED);
  for (int y = 0; y < 200; y++)
    for (int x = 0; x < 320; x++) A0000[y * 320 + x] = x ^ (y * 3);
}

static void unchained(void) {
  load(UNCHAINED);
  clear_planes();
  for (int plane = 0; plane < 4; plane++) {
    set(0x3c4, 2, 1 << plane);
    for (int i = 0; i < 80 * 400; i++) A0000[i] = i * 3 + plane * 40;
  }
}

static void split(void) {
  unchained();
  // The start moves down by 30 lines, and below line 399 the first ones are shown again.
  set(0x3d4, 0x0c, (80 * 30) >> 8);
  set(0x3d4, 0x0d, (80 * 30) & 0xff);
  set(0x3d4, 0x18, 399 & 0xff);
  set(0x3d4, 0x07, 0x3e & ~0x10 | 0x10);
  set(0x3d4, 0x09, 0x01);
}

static u32 framebuffer(void) {
  out32(0xcf8, 0x80001010);
  return in32(0xcfc) & ~0xfu;
}

static void dispi(u16 index, u16 value) {
  out16(0x1ce, index);
  out16(0x1cf, value);
}

static void linear(int width, int height, int bits) {
  load(PACKED);
  dispi(4, 0);
  dispi(1, width);
  dispi(2, height);
  dispi(3, bits);
  dispi(4, 0x41);
  volatile u8 *at = (volatile u8 *)framebuffer();
  int bytes = (bits + 7) / 8;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width * bytes; x++) *at++ = (x * 3) ^ (y * 5) ^ (x >> 6);
}

static void banked(void) {
  load(PACKED);
  dispi(4, 0);
  dispi(1, 640);
  dispi(2, 480);
  dispi(3, 8);
  dispi(4, 0x01);
  for (int bank = 0; bank < 5; bank++) {
    dispi(5, bank);
    for (int i = 0; i < 0x10000; i++) A0000[i] = i * 3 + bank * 50 + (i >> 8);
  }
  // A wider virtual screen, and a look at another part of it.
  dispi(6, 656);
  dispi(8, 16);
  dispi(9, 7);
}

__attribute__((used)) static void draw(u32 *info) {
  const char *line = (const char *)info[4];
  char last = 0;
  for (; *line; line++) last = *line;
  switch (last) {
    case 't': text(); break;
    case 'c': cga(); break;
    case 'p': planar(); break;
    case 'x': packed(); break;
    case 'u': unchained(); break;
    case 's': split(); break;
    case 'b': banked(); break;
    case '1': linear(640, 480, 15); break;
    case '2': linear(800, 600, 16); break;
    case '3': linear(320, 240, 24); break;
    case '4': linear(1024, 768, 32); break;
    case '5': linear(640, 400, 8); break;
  }
  for (const char *ready = "READY\n"; *ready; ready++) out8(0x3f8, *ready);
  for (;;) __asm__ volatile("cli; hlt");
}

__attribute__((naked, section(".text.start"), used)) void _start(void) {
  __asm__ volatile("mov $0x200000, %esp\n push %ebx\n call draw\n");
}
