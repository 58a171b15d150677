/* decoder/enx.c as a WebAssembly module: an allocator, two functions of string.h, and what JavaScript calls.
 *
 * Memory is handed out from the module's own, which grows as needed: first fit, blocks one behind the other, each with a
 * header; free neighbours are merged while memory is searched.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "enx.h"

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

typedef struct { size_t size, used; uint64_t filler; } block; /* size: of what follows; 16 bytes keep it aligned */

extern uint8_t __heap_base;
static uint8_t *begin, *end; /* of all blocks */

static block *behind(block *b) { return (block *)(void *)((uint8_t *)(b + 1) + b->size); }

/* More memory at the end: a block of at least `size` bytes, merged with a free one in front. */
static block *grow(block *last, size_t size)
{
    const size_t pages = (size + sizeof(block) + 65535) >> 16;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return NULL;
    block *b = (block *)(void *)end;
    end += pages << 16;
    if (last && !last->used) {
        last->size += pages << 16;
        return last;
    }
    b->size = (pages << 16) - sizeof(block);
    b->used = 0;
    return b;
}

EXPORT(allocate) void *allocate(size_t size)
{
    block *last = NULL, *found = NULL;
    if (size > 0xfffe0000u) return NULL;
    size = (size + 15) & ~(size_t)15;
    if (!begin) {
        begin = (uint8_t *)(((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15);
        end = (uint8_t *)(__builtin_wasm_memory_size(0) << 16);
        block *b = (block *)(void *)begin;
        b->size = (size_t)(end - begin) - sizeof(block);
        b->used = 0;
    }
    for (block *b = (block *)(void *)begin; (uint8_t *)b < end && !found; last = b, b = behind(b)) {
        if (b->used) continue;
        for (block *next = behind(b); (uint8_t *)next < end && !next->used; next = behind(b)) b->size += sizeof(block) + next->size;
        if (b->size >= size) found = b;
    }
    if (!found) found = grow(last, size);
    if (!found) return NULL;
    if (found->size >= size + sizeof(block) + 64) {
        const size_t rest = found->size - size - sizeof(block);
        found->size = size;
        behind(found)->size = rest;
        behind(found)->used = 0;
    }
    found->used = 1;
    return found + 1;
}

EXPORT(release) void release(void *memory)
{
    if (memory) ((block *)memory - 1)->used = 0;
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
