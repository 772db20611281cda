/* A plugin for QEMU: how often each translated block runs during an inference (between the two marks of firmware.c), and how often it is left by a
 * branch that is taken. Written to out=FILE at the end, a line a
 * block: address, runs, taken, code in hexadecimal. QEMU's interface for plugins, version 1 (docs/devel/tcg-plugins.rst), is declared here, since few
 * systems have its header. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tb;
struct insn;
typedef uint64_t plugin_id;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*cb)(plugin_id id, struct tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *tb, void (*cb)(unsigned int cpu, void *data), int flags, void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id id, void *data), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct tb *tb);
extern struct insn *qemu_plugin_tb_get_insn(const struct tb *tb, size_t index);
extern const void *qemu_plugin_insn_data(const struct insn *insn);
extern size_t qemu_plugin_insn_size(const struct insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct insn *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

typedef struct block {
    struct block *next;
    uint64_t at, end, runs, taken;
    int mark; /* 1: the inference begins, 2: it has ended */
    size_t bytes;
    unsigned char code[];
} block;

static block *blocks, *last;
static FILE *out;
static int inside;
static const unsigned char marks[2][6] = { {0xc0, 0x46, 0xc9, 0x46, 0xd2, 0x46}, {0xd2, 0x46, 0xc9, 0x46, 0xc0, 0x46} };

static void ran(unsigned int cpu, void *data)
{
    block *b = data;
    (void)cpu;
    if (b->mark) {
        inside = b->mark == 1;
        last = NULL;
        return;
    }
    if (!inside) return;
    if (last && last->end != b->at) last->taken++;
    b->runs++;
    last = b;
}

static void translated(plugin_id id, struct tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb), bytes = 0;
    (void)id;
    for (size_t i = 0; i < n; i++) bytes += qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i));
    block *b = calloc(1, sizeof *b + bytes);
    if (!b) exit(3);
    for (size_t i = 0; i < n; i++) {
        const struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const size_t size = qemu_plugin_insn_size(insn);
        if (i == 0) b->at = qemu_plugin_insn_vaddr(insn);
        memcpy(b->code + b->bytes, qemu_plugin_insn_data(insn), size);
        b->bytes += size;
        b->end = qemu_plugin_insn_vaddr(insn) + size;
    }
    for (int i = 0; i < 2; i++)
        if (b->bytes >= sizeof marks[i] && !memcmp(b->code, marks[i], sizeof marks[i])) b->mark = i + 1;
    b->next = blocks;
    blocks = b;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, ran, 0, b);
}

static void done(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    for (const block *b = blocks; b; b = b->next) {
        if (!b->runs) continue;
        fprintf(out, "%llx %llu %llu ", (unsigned long long)b->at, (unsigned long long)b->runs, (unsigned long long)b->taken);
        for (size_t i = 0; i < b->bytes; i++) fprintf(out, "%02x", b->code[i]);
        fputc('\n', out);
    }
    fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, done, NULL);
    return 0;
}
