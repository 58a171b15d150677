/* Prints the tensors of an .enx file, or writes the ONNX model; decoder/enx.h says what else there is.
 *
 * cc -std=c99 -O2 -I decoder examples/decode.c decoder/enx.c -o decode
 * ./decode model.enx               lists the tensors with their first values
 * ./decode model.enx model.onnx    writes the ONNX model */
#include <stdio.h>
#include <stdlib.h>

#include "enx.h"

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    if (!stream || fseek(stream, 0, SEEK_END) != 0) return NULL;
    *size = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *data = malloc(*size + 1);
    const size_t got = data ? fread(data, 1, *size, stream) : 0;
    fclose(stream);
    return got == *size ? data : NULL;
}

/* Decodes one row of the table: a payload and its tensors. */
static int print_row(const enx_file *file, size_t row, const unsigned char *data)
{
    const size_t first = enx_row_first(file, row), count = enx_row_tensors(file, row);
    void **memory = calloc(count, sizeof *memory);
    enx_tensor_info info;
    for (size_t i = 0; i < count; i++)
        if (enx_tensor(file, first + i, &info) == ENX_OK) memory[i] = malloc((size_t)info.bytes + 1);
    const int code = enx_decode(file, row, data + enx_row_offset(file, row), memory);
    for (size_t i = 0; i < count && code == ENX_OK; i++) {
        enx_tensor(file, first + i, &info);
        printf("%.*s: %llu values of type %d", (int)info.name_size, info.name, (unsigned long long)info.elements, info.type);
        for (uint64_t v = 0; v < 4 && v < info.elements && info.type == 1; v++) printf(" %g", ((float *)memory[i])[v]);
        putchar('\n');
    }
    for (size_t i = 0; i < count; i++) free(memory[i]);
    free(memory);
    return code;
}

int main(int count, char **arguments)
{
    size_t size = 0;
    unsigned char *data = count > 1 ? read_file(arguments[1], &size) : NULL;
    if (!data) return fputs("usage: decode model.enx [model.onnx]\n", stderr), 2;
    enx_bytes model;
    enx_file *file;
    int code = enx_to_onnx(data, size, NULL, &model); /* checks all of the file, its length too */
    FILE *output = code == ENX_OK && count > 2 ? fopen(arguments[2], "wb") : NULL;
    if (output && (fwrite(model.data, 1, model.size, output) != model.size || fclose(output) != 0)) perror(arguments[2]);
    if (code == ENX_OK && count == 2 && (code = enx_open(&file, data, size, NULL)) == ENX_OK) {
        for (size_t row = 0; row < enx_rows(file) && code == ENX_OK; row++) code = print_row(file, row, data);
        enx_close(file);
    }
    enx_free(&model);
    free(data);
    return code == ENX_OK ? 0 : (fprintf(stderr, "%s: %s\n", arguments[1], enx_message(code)), 1);
}
