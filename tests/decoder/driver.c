/* Decodes files that come one after the other on standard input: a length (uint32) and so many bytes each.
 *
 * For each it writes a code (uint32), the length of the ONNX model (uint64) and the model's bytes, as little-endian.
 * Every file lies in memory of exactly its length, so that a sanitizer sees a read past its end. Each is decoded twice:
 * whole, and head and payloads one by one into memory that is aligned to nothing; the two must agree. With an argument
 * n every allocation from the n-th on fails, and what was allocated must be released all the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enx.h"

typedef struct { size_t allocations, fails_from, open, held, most; } account;

static void *allocate(void *user, size_t size)
{
    account *a = user;
    if (a->fails_from && ++a->allocations >= a->fails_from) return NULL;
    size_t *memory = malloc(size + 16);
    if (!memory) return NULL;
    *memory = size;
    a->open++;
    a->held += size;
    if (a->held > a->most) a->most = a->held;
    memset((char *)memory + 16, 0xa5, size); /* nothing may rely on fresh memory being zero */
    return (char *)memory + 16;
}

static void release(void *user, void *memory)
{
    account *a = user;
    size_t *begin = (size_t *)(void *)((char *)memory - 16);
    a->open--;
    a->held -= *begin;
    free(begin);
}

static void stop(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(3);
}

/* Row by row, each payload in memory of its own; the model is compared with `whole` if that was read. */
static int in_pieces(const unsigned char *data, size_t size, const enx_allocator *allocator, const enx_bytes *whole)
{
    enx_file *f;
    const uint64_t head = enx_head_size(data, size);
    unsigned char *copy = malloc(head < size ? (size_t)head + 1 : size + 1);
    const size_t have = head < size ? (size_t)head : size;
    memcpy(copy, data, have);
    copy = realloc(copy, have ? have : 1);
    int code = enx_open(&f, copy, have, allocator);
    free(copy);
    if (code != ENX_OK) return code;
    if (enx_file_size(f) != size) code = enx_file_size(f) > size ? ENX_CUT_OFF : ENX_TOO_LONG;
    if (whole->data && enx_onnx_size(f) != whole->size) stop("two sizes of one model");
    unsigned char *memory = code == ENX_OK ? malloc((size_t)enx_onnx_size(f) + 1) : NULL, *model = memory ? memory + 1 : NULL;
    if (code == ENX_OK) code = enx_onnx_begin(f, model);
    for (size_t r = 0; r < enx_rows(f) && code == ENX_OK; r++) {
        const size_t length = (size_t)enx_row_size(f, r);
        unsigned char *payload = malloc(length ? length : 1);
        memcpy(payload, data + enx_row_offset(f, r), length);
        code = enx_onnx_row(f, r, payload, model);
        free(payload);
    }
    enx_tensor_info info;
    for (size_t t = 0; t < enx_tensors(f); t++)
        if (enx_tensor(f, t, &info) != ENX_OK || info.row >= enx_rows(f)) stop("a tensor without a row");
    if (enx_tensor(f, enx_tensors(f), &info) != ENX_ARGUMENT) stop("a tensor that is not there");
    if (enx_onnx_row(f, enx_rows(f), data, model) != ENX_ARGUMENT) stop("a row that is not there");
    if (code == ENX_OK && (!whole->data || memcmp(model, whole->data, whole->size) != 0)) stop("two models of one file");
    free(memory);
    enx_close(f);
    return code;
}

/* What a caller may do wrong, or may leave out: each call has its answer, and none goes astray. */
static void odd_calls(void)
{
    static const char *const rows[] = {"", "{", "null", "[]", "{}", "\xff", "{\"tensors\":[]}"};
    const enx_allocator none = {NULL, NULL, NULL};
    enx_bytes model;
    enx_file *f;
    if (enx_to_onnx(NULL, 0, NULL, &model) != ENX_NOT_ENX || model.data || model.size) stop("a model of nothing");
    enx_free(&model);
    enx_free(&model);
    if (enx_open(&f, NULL, 0, NULL) != ENX_NOT_ENX || f || enx_head_size(NULL, 0) != 36) stop("a file of nothing");
    enx_close(NULL);
    if (enx_to_onnx("\x89", 1, &none, &model) != ENX_NO_MEMORY || model.data) stop("memory from nowhere");
    if (enx_open_row(&f, NULL, 0, NULL) != ENX_TABLE || f) stop("a row of nothing");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (enx_open_row(&f, rows[i], strlen(rows[i]), NULL) != ENX_TABLE || f) stop("a row that is none");
    for (int code = -2; code < 14; code++)
        if (!*enx_message(code) || !*enx_message(code * 1000000)) stop("a code without a text");
}

static void put(uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) putchar((int)(value >> 8 * i & 255));
}

int main(int count, char **arguments)
{
    unsigned char prefix[4];
    account a = {0, 0, 0, 0, 0};
    const enx_allocator allocator = {allocate, release, &a};
    odd_calls();
    while (fread(prefix, 1, 4, stdin) == 4) {
        const size_t size = prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 24;
        unsigned char *data = malloc(size ? size : 1);
        if (fread(data, 1, size, stdin) != size) stop("input is cut off");
        enx_bytes model;
        a.allocations = a.most = 0;
        a.fails_from = count > 1 ? (size_t)atol(arguments[1]) : 0;
        const int code = enx_to_onnx(data, size, &allocator, &model);
        if (code != ENX_OK && model.data) stop("a model in spite of an error");
        if (!*enx_message(code)) stop("no message");
        if (!a.fails_from) {
            const int other = in_pieces(data, size, &allocator, &model);
            const int length = code == ENX_CUT_OFF || code == ENX_TOO_LONG; /* seen at another moment */
            if ((other != code && !length) || (length && other == ENX_OK)) stop("two verdicts on one file");
        }
        put((uint64_t)code, 4);
        put(a.most, 8);
        put(model.size, 8);
        if (model.data) fwrite(model.data, 1, model.size, stdout);
        enx_free(&model);
        if (a.open || a.held) stop("memory was not released");
        free(data);
        fflush(stdout);
    }
    return 0;
}
