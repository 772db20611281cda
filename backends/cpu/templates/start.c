/* What a test program needs of Linux, so that no C library must be built for an emulator first: where it starts, the system's calls, and the
 * few functions of ISO C that main.c calls. Private: artifacts hold nothing of it. Numbers of calls: Linux, arch/<name>/.../syscall tables. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xorl %ebp, %ebp\n movq %rsp, %rdi\n andq $-16, %rsp\n call begin\n");
enum { READ = 0, WRITE = 1, OPENAT = 257, CLOSE = 3, EXIT = 231, MMAP = 9 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    long r;
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n and sp, x0, #-16\n b begin\n");
enum { READ = 63, WRITE = 64, OPENAT = 56, CLOSE = 57, EXIT = 94, MMAP = 222 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}
#elif defined(__riscv)
__asm__(".globl _start\n_start:\n.option push\n.option norelax\n lla gp, __global_pointer$\n.option pop\n mv a0, sp\n andi sp, sp, -16\n tail begin\n");
enum { READ = 63, WRITE = 64, OPENAT = 56, CLOSE = 57, EXIT = 94, MMAP = 222 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    register long a7 __asm__("a7") = n, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}
#elif defined(__arm__)
__asm__(".globl _start\n_start:\n mov r0, sp\n bic r1, r0, #7\n mov sp, r1\n bl begin\n");
enum { READ = 3, WRITE = 4, OPENAT = 322, CLOSE = 6, EXIT = 248, MMAP = 192 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    register long r7 __asm__("r7") = n, r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c;
    register long r3 __asm__("r3") = d, r4 __asm__("r4") = e, r5 __asm__("r5") = f;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) : "memory", "cc");
    return r0;
}
#elif defined(__powerpc64__)
__asm__(".globl _start\n_start:\n addis 2, 12, .TOC.-_start@ha\n addi 2, 2, .TOC.-_start@l\n mr 3, 1\n clrrdi 1, 1, 4\n li 0, 0\n"
        " stdu 0, -32(1)\n mtlr 0\n bl begin\n nop\n");
enum { READ = 3, WRITE = 4, OPENAT = 286, CLOSE = 6, EXIT = 234, MMAP = 90 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    register long r0 __asm__("r0") = n, r3 __asm__("r3") = a, r4 __asm__("r4") = b, r5 __asm__("r5") = c;
    register long r6 __asm__("r6") = d, r7 __asm__("r7") = e, r8 __asm__("r8") = f;
    __asm__ volatile("sc\n bns+ 1f\n neg %1, %1\n1:" : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7), "+r"(r8)
                     : : "memory", "cr0", "r9", "r10", "r11", "r12");
    return r3;
}
#elif defined(__s390x__)
__asm__(".globl _start\n_start:\n lgr %r2, %r15\n aghi %r15, -160\n lghi %r0, 0\n stg %r0, 0(%r15)\n jg begin\n");
enum { READ = 3, WRITE = 4, OPENAT = 288, CLOSE = 6, EXIT = 248, MMAP = 90 };
static long call(long n, long a, long b, long c, long d, long e, long f) {
    const long all[] = {a, b, c, d, e, f};
    if (n == MMAP) a = (long)all; /* its arguments lie in memory */
    register long r1 __asm__("r1") = n, r2 __asm__("r2") = a, r3 __asm__("r3") = b, r4 __asm__("r4") = c, r5 __asm__("r5") = d;
    __asm__ volatile("svc 0" : "+r"(r2) : "r"(r1), "r"(r3), "r"(r4), "r"(r5) : "memory");
    return r2;
}
#else
#error "no system calls known for this machine"
#endif

int main(int argc, char **argv);

__attribute__((noreturn)) void exit(int status) {
    for (;;) call(EXIT, status, 0, 0, 0, 0, 0);
}

__attribute__((used, noreturn)) void begin(long *stack) {
    exit(main((int)stack[0], (char **)(stack + 1)));
}

/* Each piece of memory is the system's own, full of zeros, and given back at the end. */
static void *pages(size_t bytes) {
    const long p = call(MMAP, 0, (long)(bytes ? bytes : 1), 3, 0x22, -1, 0); /* read and write; private, anonymous */
    return p < 0 && p > -4096 ? NULL : (void *)p;
}
void *malloc(size_t bytes) { return pages(bytes); }
void *calloc(size_t count, size_t bytes) { return pages(count * bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return alignment <= 4096 ? pages(bytes) : NULL; }

/* A file is its descriptor, and one more. */
static long descriptor(FILE *f) { return (long)(intptr_t)f - 1; }
FILE *fopen(const char *path, const char *mode) {
    const long flags = mode[0] == 'w' ? 01 | 0100 | 01000 : 0; /* O_WRONLY, O_CREAT, O_TRUNC */
    const long found = call(OPENAT, -100, (long)path, flags, 0666, 0, 0);
    return found < 0 ? NULL : (FILE *)(intptr_t)(found + 1);
}
static size_t moved(long n, long file, char *p, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const long got = call(n, file, (long)(p + done), (long)(bytes - done), 0, 0, 0);
        if (got <= 0) break;
        done += (size_t)got;
    }
    return done;
}
size_t fread(void *restrict p, size_t size, size_t count, FILE *restrict f) { return moved(READ, descriptor(f), p, size * count) / size; }
size_t fwrite(const void *restrict p, size_t size, size_t count, FILE *restrict f) {
    return moved(WRITE, descriptor(f), (char *)(uintptr_t)p, size * count) / size;
}
int fgetc(FILE *f) {
    unsigned char c;
    return moved(READ, descriptor(f), (char *)&c, 1) == 1 ? c : EOF;
}
int fclose(FILE *f) { return call(CLOSE, descriptor(f), 0, 0, 0, 0, 0) < 0 ? EOF : 0; }

/* Plain loops (this file is compiled with -fno-builtin, or they would call themselves): the compiler makes vectors of them. */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    char *restrict t = to;
    const char *restrict f = from;
    for (size_t i = 0; i < bytes; i++) t[i] = f[i];
    return to;
}
void *memmove(void *to, const void *from, size_t bytes) {
    char *t = to;
    const char *f = from;
    if ((uintptr_t)t <= (uintptr_t)f) for (size_t i = 0; i < bytes; i++) t[i] = f[i];
    else for (size_t i = bytes; i-- > 0;) t[i] = f[i];
    return to;
}
void *memset(void *to, int value, size_t bytes) {
    char *t = to;
    for (size_t i = 0; i < bytes; i++) t[i] = (char)value;
    return to;
}
int memcmp(const void *a, const void *b, size_t bytes) {
    const unsigned char *p = a, *q = b;
    for (size_t i = 0; i < bytes; i++) if (p[i] != q[i]) return p[i] - q[i];
    return 0;
}

size_t strlen(const char *s) {
    size_t n = 0;
    while (s[n]) n++;
    return n;
}
int strcmp(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}
int atoi(const char *s) {
    const int minus = *s == '-';
    int n = 0;
    for (s += minus; *s >= '0' && *s <= '9'; s++) n = 10 * n + (*s - '0');
    return minus ? -n : n;
}
int puts(const char *s) {
    moved(WRITE, 1, (char *)(uintptr_t)s, strlen(s));
    return moved(WRITE, 1, (char *)(uintptr_t) "\n", 1) == 1 ? 0 : EOF;
}

/* %d, and %02x of a byte: what main.c prints. */
int printf(const char *restrict format, ...) {
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    char out[64];
    size_t n = 0;
    for (; *format && n < sizeof out - 12; format++) {
        if (*format != '%') {
            out[n++] = *format;
        } else if (format[1] == 'd') {
            const int value = __builtin_va_arg(arguments, int);
            unsigned left = value < 0 ? 0u - (unsigned)value : (unsigned)value;
            char digits[10];
            int count = 0;
            do digits[count++] = (char)('0' + left % 10u); while ((left /= 10u) != 0u);
            if (value < 0) out[n++] = '-';
            while (count) out[n++] = digits[--count];
            format += 1;
        } else {
            const unsigned value = __builtin_va_arg(arguments, unsigned);
            for (int shift = 4; shift >= 0; shift -= 4) out[n++] = "0123456789abcdef"[value >> shift & 15u];
            format += 3;
        }
    }
    __builtin_va_end(arguments);
    return (int)moved(WRITE, 1, out, n);
}
