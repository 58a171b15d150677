/* enx.h - reads .enx files (docs/format.md, versions 1 to 4) and gives the ONNX model back.
 *
 *     enx_bytes model;
 *     int code = enx_to_onnx(file, file_size, NULL, &model);      // NULL: malloc and free
 *     if (code != ENX_OK) { puts(enx_message(code)); return 1; }
 *     fwrite(model.data, 1, model.size, output);
 *     enx_free(&model);
 *
 * Piece by piece, so that nothing is held twice and tensors are decoded while the rest still arrives:
 *
 *     enx_file *f;
 *     enx_open(&f, bytes, have, NULL);                 // the first enx_head_size(bytes) bytes are enough
 *     for (size_t r = 0; r < enx_rows(f); r++)         // payload of row r: enx_row_offset(f, r), enx_row_size(f, r)
 *         for each tensor t of row r: give enx_decode memory of enx_tensor_info.bytes for it
 *
 * C99, no dependency but memcpy, memmove, memset and memcmp; malloc and free only where no allocator is given and
 * ENX_NO_MALLOC is not defined. No global state, no recursion. Float arithmetic has to be that of IEEE 754: compile
 * without -ffast-math, and where the compiler contracts products and sums, with -ffp-contract=off.
 */
#ifndef ENX_H
#define ENX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum enx_code {
    ENX_OK = 0,
    ENX_NOT_ENX,     /* it does not begin with the format's signature */
    ENX_CUT_OFF,     /* it is shorter than it says */
    ENX_TOO_LONG,    /* it is longer than it says */
    ENX_VERSION,     /* a newer decoder may read it */
    ENX_HEAD,        /* the head is damaged: checksum, lengths or compression */
    ENX_TABLE,       /* the table of tensors is damaged */
    ENX_GRAPH,       /* the graph is damaged, or table and graph do not agree */
    ENX_PAYLOAD,     /* a payload is damaged */
    ENX_NO_MEMORY,   /* the allocator gave none */
    ENX_ARGUMENT     /* the caller asked for a row or tensor that is not there, or gave too little memory */
};

/* One sentence for a code; never NULL. */
const char *enx_message(int code);

/* Where memory comes from. `allocate` returns NULL where there is none; `user` is handed to both. */
typedef struct enx_allocator {
    void *(*allocate)(void *user, size_t size);
    void (*release)(void *user, void *memory);
    void *user;
} enx_allocator;

typedef struct enx_bytes {
    uint8_t *data;
    size_t size;
    enx_allocator allocator;
} enx_bytes;

typedef struct enx_file enx_file;

typedef struct enx_tensor_info {
    const char *name;    /* UTF-8, not ended by a zero; may hold zeros */
    size_t name_size;
    int type;            /* ONNX's number: 1 = float32, 10 = float16, 16 = bfloat16, 7 = int64, ... */
    size_t rank;
    const uint64_t *shape;
    uint64_t elements;
    uint64_t bytes;      /* of all elements as ONNX's raw_data holds them */
    size_t row;          /* whose payload holds it */
    int exact;           /* 1: kept exactly; 0: quantized */
} enx_tensor_info;

/* The whole file to the bytes of an ONNX model. `model` is to be given to enx_free. */
int enx_to_onnx(const void *file, size_t size, const enx_allocator *allocator, enx_bytes *model);
void enx_free(enx_bytes *bytes);

/* How many bytes of a file's beginning enx_open needs: 36 until those are there, then the length of prefix and head. */
uint64_t enx_head_size(const void *beginning, size_t have);

/* Reads and checks prefix, table and graph. `have` bytes are at hand, the file may be longer; nothing of `beginning`
 * is kept. A file that is at hand whole should be checked against enx_file_size. */
int enx_open(enx_file **file, const void *beginning, size_t have, const enx_allocator *allocator);

/* A row of the table by itself, as JSON, for who has read the table: enx_decode and enx_levels take it as row 0 of a file
 * that has no model. */
int enx_open_row(enx_file **file, const char *json, size_t size, const enx_allocator *allocator);
void enx_close(enx_file *file);
uint64_t enx_file_size(const enx_file *file);

size_t enx_rows(const enx_file *file);
uint64_t enx_row_offset(const enx_file *file, size_t row); /* of its payload, from the file's beginning */
uint64_t enx_row_size(const enx_file *file, size_t row);
size_t enx_row_first(const enx_file *file, size_t row);   /* number of its first tensor */
size_t enx_row_tensors(const enx_file *file, size_t row); /* how many tensors it has */

size_t enx_tensors(const enx_file *file);
int enx_tensor(const enx_file *file, size_t tensor, enx_tensor_info *info);

/* Checks and decodes a row's payload (enx_row_size bytes). out[i] takes the bytes of the row's i-th tensor. */
int enx_decode(const enx_file *file, size_t row, const void *payload, void *const *out);

/* The integer levels of a row of quantized tensors, of all its tensors one after the other. */
int enx_levels(const enx_file *file, size_t row, const void *payload, int32_t *levels);

/* The ONNX model: enx_onnx_begin writes all but the weights into enx_onnx_size bytes, enx_onnx_row then a row. */
uint64_t enx_onnx_size(const enx_file *file);
int enx_onnx_begin(const enx_file *file, void *model);
int enx_onnx_row(const enx_file *file, size_t row, const void *payload, void *model);

/* The table as JSON, and its length. */
const char *enx_table(const enx_file *file, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
