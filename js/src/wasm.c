/* decoder/enx.c as a WebAssembly module: an allocator, two functions of string.h, and what JavaScript calls.
 *
 * Memory is handed out from the module's own, which grows as needed: blocks one behind the other, each with a header. The
 * last ones are taken back as soon as all behind them are released too: a payload's memory is free again when it is decoded.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "enx.h"

/* JavaScript's Number() of a text; enx.c calls it by the name that ENX_DECIMAL gives it. */
__attribute__((import_module("js"), import_name("number"))) double number_of(const uint8_t *text, size_t size);
double decimal_of(const uint8_t *text, size_t size) { return number_of(text, size); }

#define EXPORT(name) __attribute__((export_name(#name)))

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *p = a, *q = b;
    for (; size; size--, p++, q++)
        if (*p != *q) return *p - *q;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

/* ------------------------------------------------------------------------------------------------------- memory */

typedef struct block { struct block *before; size_t used; uint64_t filler; } block; /* 16 bytes keep what follows aligned */

extern uint8_t __heap_base;
static block *last;
static uint8_t *end; /* of the last block */

EXPORT(allocate) void *allocate(size_t size)
{
    if (size > 0xfffe0000u) return NULL;
    if (!end) end = (uint8_t *)(((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15);
    size = sizeof(block) + ((size + 15) & ~(size_t)15);
    const size_t room = (__builtin_wasm_memory_size(0) << 16) - (uintptr_t)end;
    if (size > room && __builtin_wasm_memory_grow(0, (size - room + 65535) >> 16) == (size_t)-1) return NULL;
    block *b = (block *)(void *)end;
    b->before = last;
    b->used = 1;
    last = b;
    end += size;
    return b + 1;
}

EXPORT(release) void release(void *memory)
{
    if (!memory) return;
    ((block *)memory - 1)->used = 0;
    for (; last && !last->used; last = last->before) end = (uint8_t *)last;
}

static void *allocate_for(void *user, size_t size) { (void)user; return allocate(size); }
static void release_for(void *user, void *memory) { (void)user; release(memory); }

/* -------------------------------------------------------------------------------------------- what is exported */

static enx_file *file;

EXPORT(head_size) double head_size(const void *beginning, size_t have) { return (double)enx_head_size(beginning, have); }

EXPORT(open) int open(const void *beginning, size_t have)
{
    const enx_allocator allocator = {allocate_for, release_for, 0};
    return enx_open(&file, beginning, have, &allocator);
}

EXPORT(file_size) double file_size(void) { return (double)enx_file_size(file); }
EXPORT(rows) size_t rows(void) { return enx_rows(file); }
EXPORT(row_size) double row_size(size_t row) { return (double)enx_row_size(file, row); }
EXPORT(onnx_size) double onnx_size(void) { return (double)enx_onnx_size(file); }
EXPORT(onnx_begin) int onnx_begin(void *model) { return enx_onnx_begin(file, model); }
EXPORT(onnx_row) int onnx_row(size_t row, const void *payload, void *model) { return enx_onnx_row(file, row, payload, model); }

/* The table's JSON: where it is; its length is where `size` points. */
EXPORT(table) const char *table(size_t *size) { return enx_table(file, size); }
