/* enx.c - decodes .enx files; enx.h says how it is used, docs/format.md what the bytes mean.
 *
 * In the order of the page: bits and checksums, LZMA, the table (JSON), exact values and coder order0, coders
 * contexts and trellis, quantizers, the graph (protobuf), and the functions of enx.h.
 * Bytes are hostile until checked: every length is compared with what is there before it is used, and memory is asked
 * for only as far as the file's length pays for it.
 */
#include "enx.h"

#include <string.h>
#ifndef ENX_NO_MALLOC
#include <stdlib.h>
#endif

#ifdef __clang__ /* gcc contracts nothing with -std=c99, and does not know the pragma */
#pragma STDC FP_CONTRACT OFF
#endif

/* ENX_SMALL: for boards; ENX_BRIEF: a little faster and larger, for WebAssembly. ENX_DECIMAL: the name of a function that
 * makes a float64 of a text, for builds that have one anyway. */
#ifdef ENX_SMALL
#define ENX_BRIEF
#endif

#if defined(__GNUC__) && !defined(ENX_SMALL)
#define INLINE __attribute__((always_inline)) inline
#else
#define INLINE inline
#endif
#define MOST ((uint64_t)1 << 40)
#define RETURN_IF(code) do { int code_ = (code); if (code_ != ENX_OK) return code_; } while (0)
#define NEED(condition, code) do { if (!(condition)) return (code); } while (0)

/* ---------------------------------------------------------------------------------------------- memory and bytes */

#ifndef ENX_NO_MALLOC
static void *plain_allocate(void *user, size_t size) { (void)user; return malloc(size); }
static void plain_release(void *user, void *memory) { (void)user; free(memory); }
#endif

static enx_allocator allocator_or_default(const enx_allocator *given)
{
    enx_allocator none = {0, 0, 0};
    if (given) return *given;
#ifndef ENX_NO_MALLOC
    none.allocate = plain_allocate;
    none.release = plain_release;
#endif
    return none;
}

static void *take(const enx_allocator *a, uint64_t count, size_t size)
{
    if (!a->allocate || count > (SIZE_MAX - 16) / size) return NULL;
    return a->allocate(a->user, (size_t)count * size + (count ? 0 : 1));
}

static void give_back(const enx_allocator *a, void *memory)
{
    if (memory && a->release) a->release(a->user, memory);
}

/* A list that grows: room for `size`-byte items is doubled as needed. */
typedef struct { uint8_t *data; size_t count, room; } list;

static int reserve(const enx_allocator *a, list *items, size_t more, size_t size)
{
    if (items->room - items->count >= more) return ENX_OK;
    size_t room = items->count + more;
    if (room < 2 * items->room) room = 2 * items->room;
    if (room < 16) room = 16;
    uint8_t *data = take(a, room, size);
    if (!data) return ENX_NO_MEMORY;
    if (items->count) memcpy(data, items->data, items->count * size);
    give_back(a, items->data);
    items->data = data;
    items->room = room;
    return ENX_OK;
}

static int append(const enx_allocator *a, list *to, const void *items, size_t count, size_t size)
{
    RETURN_IF(reserve(a, to, count, size));
    if (count) memcpy(to->data + to->count * size, items, count * size);
    to->count += count;
    return ENX_OK;
}

/* Numbers are stored with their lowest byte first, as most processors have them. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE_ENDIAN_ 1
#else
#define LITTLE_ENDIAN_ 0
#endif
#define READ(name, type) static INLINE type name(const uint8_t *p) \
{ \
    type v = 0; \
    if (LITTLE_ENDIAN_) memcpy(&v, p, sizeof v); \
    else for (unsigned i = 0; i < sizeof v; i++) v = (type)(v | (type)p[i] << 8 * i); \
    return v; \
}
READ(read16, uint16_t)
READ(read32, uint32_t)
READ(read64, uint64_t)

static INLINE void write32(uint8_t *p, uint32_t v)
{
    if (LITTLE_ENDIAN_) memcpy(p, &v, sizeof v);
    else for (unsigned i = 0; i < sizeof v; i++) p[i] = (uint8_t)(v >> 8 * i);
}

#ifdef ENX_BRIEF
enum { AT_ONCE = 4 };
#else
enum { AT_ONCE = 8 };
#endif

static INLINE uint32_t crc_of_four(const uint32_t *by, uint32_t x)
{
    return by[768 + (x & 255)] ^ by[512 + (x >> 8 & 255)] ^ by[256 + (x >> 16 & 255)] ^ by[x >> 24];
}

/* CRC-32 of zlib, half a byte at a time: the table is small enough for a board, and made here. */
static uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t size)
{
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int j = 0; j < 4; j++) table[i] = table[i] >> 1 ^ (0xedb88320 & (0 - (table[i] & 1)));
    }
    crc = ~crc;
#ifndef ENX_SMALL /* long data AT_ONCE bytes at a time, by tables made of the one above (Kounavis and Berry, 2005) */
    if (size >= 4096) {
        uint32_t by[AT_ONCE][256];
        for (unsigned i = 0; i < 256; i++) {
            const uint32_t half = i >> 4 ^ table[i & 15];
            by[0][i] = half >> 4 ^ table[half & 15];
        }
        for (unsigned j = 1; j < AT_ONCE; j++)
            for (unsigned i = 0; i < 256; i++) by[j][i] = by[j - 1][i] >> 8 ^ by[0][by[j - 1][i] & 255];
        for (; size >= AT_ONCE; data += AT_ONCE, size -= AT_ONCE) {
            crc = crc_of_four(by[AT_ONCE - 4], crc ^ read32(data));
            if (AT_ONCE > 4) crc ^= crc_of_four(by[0], read32(data + 4));
        }
    }
#endif
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* Bit fields from each byte's least significant bit on. Reading past the end sets `failed` and gives zeros. */
typedef struct { const uint8_t *data; uint64_t at, end; int failed; } bits;

static bits bits_of(const uint8_t *data, size_t size)
{
    bits b = {data, 0, 8 * (uint64_t)size, 0};
    return b;
}

/* The next 57 bits at least; zeros behind the end. */
static INLINE uint64_t peek(const bits *b)
{
    const uint8_t *p = b->data + (b->at >> 3);
    uint64_t window = 0;
    if (b->end - b->at >= 64) window = read64(p);
    else for (unsigned i = 0; 8 * (uint64_t)i < b->end - (b->at & ~(uint64_t)7); i++) window |= (uint64_t)p[i] << 8 * i;
    return window >> (b->at & 7);
}

static INLINE void pass(bits *b, unsigned width)
{
    if (width > b->end - b->at) b->failed = 1, b->at = b->end;
    else b->at += width;
}

static uint64_t get(bits *b, unsigned width) /* width <= 57 */
{
    const uint64_t window = peek(b);
    pass(b, width);
    return b->failed ? 0 : window & (((uint64_t)1 << width) - 1);
}

static void align(bits *b) /* what is left of a byte is zero */
{
    if (get(b, (unsigned)((8 - (b->at & 7)) & 7))) b->failed = 1;
}

static unsigned ones(bits *b, unsigned most)
{
    unsigned count = 0;
    while (!b->failed && get(b, 1))
        if (++count > most) b->failed = 1;
    return count;
}

static uint64_t gamma_code(bits *b)
{
    unsigned width = ones(b, 32);
    return b->failed ? 0 : ((uint64_t)1 << width) - 1 + get(b, width);
}

static uint64_t varint(bits *b) /* on a byte's boundary; at most 63 bits */
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint64_t byte = get(b, 8);
        value |= (byte & 127) << shift;
        if (byte < 128) return b->failed ? 0 : value;
    }
    b->failed = 1;
    return 0;
}

/* One of the "numbers" of a head whose `low` has been read. */
static int number(bits *b, unsigned low)
{
    unsigned high = 0;
    while (high < 12 && get(b, 1)) high++;
    unsigned u = high == 12 ? (unsigned)get(b, 8) : high << low | (unsigned)get(b, low);
    return u & 1 ? (int)((u + 1) / 2) : -(int)(u / 2);
}

static int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* --------------------------------------------------------------------------------------------------------- LZMA1 */

/* A raw LZMA1 stream with lc = 1, lp = 0, pb = 0 and an end marker, to exactly `size` bytes. The output is the
 * dictionary; `window` is the farthest that a match may reach back. */
typedef struct { const uint8_t *in, *end; uint32_t range, code; int failed; } range_decoder;

enum {
    STATES = 12,
    IS_MATCH = 0,                       /* by state: one position state, as pb = 0 */
    IS_REP = IS_MATCH + STATES,
    IS_REP0 = IS_REP + STATES,
    IS_REP1 = IS_REP0 + STATES,
    IS_REP2 = IS_REP1 + STATES,
    IS_REP0_LONG = IS_REP2 + STATES,
    SLOTS = IS_REP0_LONG + STATES,      /* 4 trees of 6 bits */
    SPECIAL = SLOTS + 4 * 64,           /* 115 places for distances of slots 4 to 13 */
    ALIGN = SPECIAL + 115,              /* a tree of 4 bits */
    MATCH_LENGTH = ALIGN + 16,          /* choice, choice 2, 8 low, 8 middle, 256 high */
    REP_LENGTH = MATCH_LENGTH + 2 + 8 + 8 + 256,
    LITERALS = REP_LENGTH + 2 + 8 + 8 + 256, /* 2 contexts of 0x300, as lc = 1 */
    PROBABILITIES = LITERALS + 2 * 0x300
};

static void normalise(range_decoder *rc)
{
    if (rc->range >= (uint32_t)1 << 24) return;
    rc->range <<= 8;
    if (rc->in == rc->end) rc->failed = 1;
    else rc->code = rc->code << 8 | *rc->in++;
}

static unsigned bit(range_decoder *rc, uint16_t *probability)
{
    normalise(rc);
    uint32_t bound = (rc->range >> 11) * *probability;
    if (rc->code < bound) {
        rc->range = bound;
        *probability = (uint16_t)(*probability + ((2048 - *probability) >> 5));
        return 0;
    }
    rc->range -= bound;
    rc->code -= bound;
    *probability = (uint16_t)(*probability - (*probability >> 5));
    return 1;
}

static unsigned tree(range_decoder *rc, uint16_t *tree_, unsigned width)
{
    unsigned node = 1;
    for (unsigned i = 0; i < width; i++) node = node << 1 | bit(rc, tree_ + node);
    return node - (1u << width);
}

static unsigned reversed_tree(range_decoder *rc, uint16_t *tree_, unsigned width)
{
    unsigned node = 1, value = 0;
    for (unsigned i = 0; i < width; i++) {
        unsigned one = bit(rc, tree_ + node);
        node = node << 1 | one;
        value |= one << i;
    }
    return value;
}

static uint32_t direct_bits(range_decoder *rc, unsigned width)
{
    uint32_t value = 0;
    while (width--) {
        normalise(rc);
        rc->range >>= 1;
        uint32_t over = rc->code >= rc->range;
        if (over) rc->code -= rc->range;
        value = value << 1 | over;
    }
    return value;
}

static unsigned match_length(range_decoder *rc, uint16_t *p)
{
    if (!bit(rc, p)) return 2 + tree(rc, p + 2, 3);
    if (!bit(rc, p + 1)) return 10 + tree(rc, p + 10, 3);
    return 18 + tree(rc, p + 18, 8);
}

static uint32_t match_distance(range_decoder *rc, uint16_t *p, unsigned length)
{
    unsigned slot = tree(rc, p + SLOTS + 64 * (length < 6 ? length - 2 : 3), 6);
    if (slot < 4) return slot;
    unsigned width = (slot >> 1) - 1;
    uint32_t distance = (uint32_t)(2 | (slot & 1)) << width;
    if (slot < 14) return distance + reversed_tree(rc, p + SPECIAL + distance - slot - 1, width);
    distance += direct_bits(rc, width - 4) << 4;
    return distance + reversed_tree(rc, p + ALIGN, 4);
}

static int unfold(const enx_allocator *a, const uint8_t *in, size_t in_size, uint8_t *out, size_t size)
{
    NEED(in_size >= 5 && in[0] == 0, ENX_HEAD);
    uint16_t *p = take(a, PROBABILITIES, sizeof *p);
    if (!p) return ENX_NO_MEMORY;
    for (size_t i = 0; i < PROBABILITIES; i++) p[i] = 1024;
    range_decoder rc = {in + 5, in + in_size, 0xffffffff,
                        (uint32_t)in[1] << 24 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 8 | in[4], 0};
    uint64_t window = 4096;
    while (window < size && window < (uint64_t)1 << 26) window *= 2;
    size_t done = 0;
    uint32_t rep[4] = {0, 0, 0, 0};
    unsigned state = 0;
    int ended = 0;
    while (!rc.failed && !ended) {
        if (!bit(&rc, p + IS_MATCH + state)) {
            if (done == size) break;
            uint16_t *literal = p + LITERALS + 0x300 * (done ? out[done - 1] >> 7 : 0);
            unsigned node = 1;
            if (state >= 7) {
                if (rep[0] >= done) break;
                unsigned match = out[done - 1 - rep[0]];
                while (node < 0x100) {
                    unsigned above = match >> 7 & 1;
                    match <<= 1;
                    unsigned one = bit(&rc, literal + ((1 + above) << 8) + node);
                    node = node << 1 | one;
                    if (one != above) break;
                }
            }
            while (node < 0x100) node = node << 1 | bit(&rc, literal + node);
            out[done++] = (uint8_t)node;
            state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
            continue;
        }
        unsigned length, which = 3; /* of the last four distances; 3: it goes, for a new one */
        if (!bit(&rc, p + IS_REP + state)) {
            length = match_length(&rc, p + MATCH_LENGTH);
            state = state < 7 ? 7 : 10;
            rep[3] = match_distance(&rc, p, length);
        } else {
            for (which = 0; which < 3 && bit(&rc, p + IS_REP0 + STATES * which + state);) which++;
            if (!which && !bit(&rc, p + IS_REP0_LONG + state)) {
                length = 1;
                state = state < 7 ? 9 : 11;
            } else {
                length = match_length(&rc, p + REP_LENGTH);
                state = state < 7 ? 8 : 11;
            }
        }
        const uint32_t distance = rep[which];
        for (; which; which--) rep[which] = rep[which - 1];
        rep[0] = distance;
        if (distance == 0xffffffff) { /* the end marker */
            normalise(&rc);
            ended = !rc.failed && rc.code == 0 && rc.in == rc.end && done == size;
            break;
        }
        if (rep[0] >= done || rep[0] >= window || length > size - done) break;
        for (unsigned i = 0; i < length; i++, done++) out[done] = out[done - 1 - rep[0]];
    }
    give_back(a, p);
    return ended ? ENX_OK : ENX_HEAD;
}

/* ---------------------------------------------------------------------------------------------------------- JSON */

/* A character of UTF-8 at p: its length, 0 where it is none (overlong, a surrogate, beyond U+10FFFF, cut off). */
static unsigned utf8_length(const uint8_t *p, const uint8_t *end)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (p >= end) return 0;
    if (p[0] < 0x80) return 1;
    const unsigned length = p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    if (!length || (size_t)(end - p) < length) return 0;
    uint32_t c = p[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 63);
    }
    return c < least[length] || c >> 11 == 0xd800 >> 11 || c > 0x10ffff ? 0 : length;
}

static int is_text(const uint8_t *p, size_t size)
{
    const uint8_t *end = p + size;
    while (p < end) {
        unsigned length = utf8_length(p, end);
        if (!length) return 0;
        p += length;
    }
    return 1;
}

/* JSON ends with a zero, which is in no text: what goes on only behind what it knows never goes past it. All of these
 * return NULL for what is no JSON. */
static const uint8_t *blank(const uint8_t *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}

static int hex4(const uint8_t *p, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = p[i], digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 16;
        if (digit > 15) return 0;
        *value = *value << 4 | digit;
    }
    return 1;
}

/* The next character of a string as UTF-8 (at most 4 bytes into `out`, their number into *size). */
static const uint8_t *character(const uint8_t *p, uint8_t *out, unsigned *size)
{
    if (*p < 0x20) return NULL;
    if (*p != '\\') {
        *size = utf8_length(p, p + 4);
        if (!*size) return NULL;
        memcpy(out, p, *size);
        return p + *size;
    }
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    *size = 1;
    for (int i = 0; i < 8; i++)
        if (p[1] == (uint8_t)names[i]) {
            out[0] = (uint8_t)values[i];
            return p + 2;
        }
    uint32_t c, low;
    if (p[1] != 'u' || !hex4(p + 2, &c)) return NULL;
    p += 6;
    if (c >= 0xdc00 && c < 0xe000) return NULL;
    if (c >= 0xd800 && c < 0xdc00) { /* half of a character beyond 16 bits: the other half has to follow */
        if (p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, &low)) return NULL;
        if (low < 0xdc00 || low >= 0xe000) return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *size = 1u + (unsigned)(c >= 0x80) + (unsigned)(c >= 0x800) + (unsigned)(c >= 0x10000);
    for (unsigned i = *size - 1; i; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)(*size == 1 ? c : 0xf00u >> *size | c);
    return p;
}

static const uint8_t *skip_string(const uint8_t *p)
{
    uint8_t c[4];
    unsigned size;
    if (*p != '"') return NULL;
    p++;
    while (p && *p != '"') p = character(p, c, &size);
    return p ? p + 1 : NULL;
}

/* Which of `names` the string at p is: each ends with a zero, the last with two; their number where it is none of them. */
static unsigned name_among(const uint8_t *p, const char *names)
{
    unsigned which = 0;
    for (; *names; names += strlen(names) + 1, which++) {
        uint8_t c[4];
        unsigned size, at = 0;
        const uint8_t *q = p + 1;
        while (*p == '"' && names[at] && *q != '"') {
            const uint8_t *next = character(q, c, &size);
            if (size > 1 || *c != (uint8_t)names[at]) break;
            q = next;
            at++;
        }
        if (*p == '"' && !names[at] && *q == '"') break;
    }
    return which;
}

static const uint8_t *digits(const uint8_t *p) /* one at least */
{
    if (*p < '0' || *p > '9') return NULL;
    while (*p >= '0' && *p <= '9') p++;
    return p;
}

/* Numbers: where one ends, and whether it has a fraction or an exponent. */
static const uint8_t *skip_number(const uint8_t *p, int *whole)
{
    *whole = 1;
    if (*p == '-') p++;
    p = *p == '0' ? p + 1 : digits(p);
    if (p && *p == '.') {
        *whole = 0;
        p = digits(p + 1);
    }
    if (p && (*p | 32) == 'e') {
        *whole = 0;
        p++;
        if (*p == '+' || *p == '-') p++;
        p = digits(p);
    }
    return p;
}

static int is_finite(double x) { return x - x == 0; }

#ifdef ENX_DECIMAL
/* The float64 nearest to a number of JSON, infinite where there is none, by a function of the host: of JavaScript, Number(). */
double ENX_DECIMAL(const uint8_t *text, size_t size);

static double decimal(const uint8_t *p)
{
    int whole;
    return ENX_DECIMAL(p, (size_t)(skip_number(p, &whole) - p));
}

static int is_within_float64(const uint8_t *p) { return is_finite(decimal(p)); }

/* Digits, without their sign, as a number: exact as far as sizes go. */
static uint64_t natural(const uint8_t *p)
{
    const double x = decimal(p + (*p == '-'));
    return x < 1e18 ? (uint64_t)x : UINT64_MAX;
}
#else
/* The first 19 digits of a number of JSON that are not leading zeros, followed by zeros where it has fewer; 0 for zero.
 * *point: the number is 0.digits times 10 to the power of that. */
static uint64_t first_digits(const uint8_t *p, int64_t *point)
{
    uint64_t first = 0;
    int64_t written = 0;
    int count = 0, behind = 0;
    *point = 0;
    for (; *p >= '-' && *p <= '9'; p++) {
        if (*p < '0') { /* a sign, or the point */
            behind |= *p == '.';
            continue;
        }
        if (first || *p != '0') *point += !behind;
        else *point -= behind;
        if (count < 19) {
            first = 10 * first + (uint64_t)(*p - '0');
            count += first != 0;
        }
    }
    for (; first && count < 19; count++) first *= 10;
    if ((*p | 32) != 'e') return first;
    const int down = *++p == '-';
    for (p += *p < '0'; *p >= '0' && *p <= '9'; p++)
        if (written < (int64_t)1 << 40) written = 10 * written + (*p - '0');
    *point += down ? -written : written;
    return first;
}

/* A number of any length as far as a decimal one needs it, 16 bits a limb, the lowest first: 781 digits before the point, and
 * behind it so many bits that 10 to the power of -330 still has more than 64. */
enum { BEHIND = 76, LIMBS = BEHIND + 166, DIGITS = 780 };

static void times_ten(uint16_t *limbs, uint32_t add)
{
    for (int i = BEHIND; i < LIMBS; i++, add >>= 16) {
        add += 10u * limbs[i];
        limbs[i] = (uint16_t)add;
    }
}

static unsigned tenth(uint16_t *limbs) /* the remainder, which tells whether anything is lost below the last limb */
{
    uint32_t rest = 0;
    for (int i = LIMBS; i--; rest %= 10) {
        rest = rest << 16 | limbs[i];
        limbs[i] = (uint16_t)(rest / 10);
    }
    return rest;
}

/* q * 2^e, of which the highest bit of q is set, with `sticky` for what lies below its last bit: the nearest float64, ties
 * to even. Where rounding carries, the bits of the exponent behind those of the fraction take it. */
static double rounded(uint64_t q, int sticky, int e)
{
    int exponent = e + 63 + 1023, drop = 11;
    if (exponent < 1) { /* subnormal: fewer bits */
        drop += 1 - exponent;
        exponent = 1;
    }
    if (exponent > 2046) exponent = 2047, q = 0; /* infinite; the sum below adds nothing to it */
    if (drop > 64) return 0;
    const uint64_t below = q << (64 - drop), half = (uint64_t)1 << 63;
    uint64_t u = drop < 64 ? q >> drop : 0;
    u += below > half || (below == half && (sticky || (u & 1)));
    u += (uint64_t)(exponent - (exponent < 2047)) << 52;
    double value;
    memcpy(&value, &u, 8);
    return value;
}

/* The float64 nearest to a number of JSON; infinite where there is none. */
static double decimal(const uint8_t *p)
{
    uint16_t limbs[LIMBS];
    int64_t point;
    const int negative = *p == '-';
    const uint64_t first = first_digits(p, &point);
    int count = 0, e = first && point > 0 ? 2000 : -2000; /* rounded to infinity, or to 0 */
    uint64_t q = 0;
    unsigned lost = 0;
    if (first && point >= -330 && point <= 310) {
        memset(limbs, 0, sizeof limbs);
        for (; *p >= '-' && *p <= '9'; p++) {
            if (*p < '0') continue;
            if (count == DIGITS) {
                lost |= *p != '0';
                continue;
            }
            times_ten(limbs, *p - (uint32_t)'0');
            count += count || *p != '0';
        }
        for (point -= count; point > 0; point--) times_ten(limbs, 0);
        for (; point < 0; point++) lost |= tenth(limbs);
        for (int i = 16 * LIMBS; i--;) {
            const unsigned one = limbs[i >> 4] >> (i & 15) & 1;
            if (q >> 63) lost |= one;
            else q = q << 1 | one, e = i - 16 * BEHIND;
        }
    }
    const double value = rounded(q, lost != 0, e);
    return negative ? -value : value;
}

/* Whether a number of JSON has a float64: it lies below 2^1024 - 2^970, from where on it is rounded to infinity. The first
 * digits tell nearly all from that number of 309 digits. */
static int is_within_float64(const uint8_t *p)
{
    const uint64_t limit = 1797693134862315807u;
    int64_t point;
    const uint64_t first = first_digits(p, &point);
    if (!first || point != 309) return !first || point < 309;
    return first == limit ? is_finite(decimal(p)) : first < limit;
}

/* Digits, without their sign, as a number; UINT64_MAX for those that are larger than any size. */
static uint64_t natural(const uint8_t *p)
{
    int64_t point;
    uint64_t value = first_digits(p, &point);
    for (; point < 19; point++) value /= 10;
    return point == 19 ? value : UINT64_MAX;
}
#endif

enum { JSON_DEPTH = 900, MOST_DIGITS = 4300 };

/* Where the value at p ends. `depth`: how deep objects and lists lie in each other, at most JSON_DEPTH. */
static const uint8_t *skip_value(const uint8_t *p, int *depth)
{
    uint8_t kinds[JSON_DEPTH]; /* what closes those that are open */
    int open = 0, deepest = 0, whole, keyed = 0; /* keyed: a key comes before the value */
    for (;;) {
        p = blank(p);
        if (keyed) {
            p = skip_string(p);
            if (!p || *(p = blank(p)) != ':') return NULL;
            p++;
            p = blank(p);
        }
        const uint8_t *begin = p;
        keyed = *p == '{';
        if (keyed || *p == '[') {
            if (open == JSON_DEPTH) return NULL;
            kinds[open++] = (uint8_t)(*p + 2);
            if (open > deepest) deepest = open;
            p = blank(p + 1);
            if (*p != kinds[open - 1]) continue;
            p++;
            open--;
        } else if (*p == '"') {
            p = skip_string(p);
        } else if (*p == 't' || *p == 'f' || *p == 'n') {
            const char *word = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
            for (; *word; word++)
                if (*p++ != (uint8_t)*word) return NULL;
        } else {
            p = skip_number(p, &whole);
            if (!p || (whole ? p - begin - (*begin == '-') > MOST_DIGITS : !is_within_float64(begin))) return NULL;
        }
        /* behind a value: close what ends here, or go on to the next one */
        for (;;) {
            if (!p) return NULL;
            if (!open) {
                if (depth) *depth = deepest;
                return p;
            }
            p = blank(p);
            keyed = kinds[open - 1] == '}';
            if (*p == ',') {
                p++;
                break;
            }
            if (*p != kinds[open - 1]) return NULL;
            p++;
            open--;
        }
    }
}

/* The values of an object's keys: values[i] for the i-th of `names`, NULL where it is absent; the last counts where a key
 * occurs twice. 0 where the value is no object or has another key. JSON is known to be sound here. */
static int object(const uint8_t *p, const char *names, unsigned count, const uint8_t **values)
{
    memset(values, 0, count * sizeof *values);
    p = blank(p);
    if (*p != '{') return 0;
    p = blank(p + 1);
    while (*p != '}') {
        const unsigned i = name_among(p, names);
        if (i == count) return 0;
        p = blank(skip_string(p)) + 1;
        values[i] = p = blank(p);
        p = blank(skip_value(p, NULL));
        if (*p == ',') p = blank(p + 1);
    }
    return 1;
}

/* Goes through a list: *p is the list at first, then each item; 0 behind the last. */
static int next_item(const uint8_t **p, int first)
{
    const uint8_t *q = blank(*p);
    if (first) {
        q = blank(q + 1);
        if (*q == ']') return 0;
    } else {
        q = blank(skip_value(q, NULL));
        if (*q != ',') return 0;
        q = blank(q + 1);
    }
    *p = q;
    return 1;
}

static int natural_value(const uint8_t *p, uint64_t most, uint64_t *value)
{
    int whole;
    if (!p || !skip_number(p, &whole) || !whole) return 0;
    *value = natural(p);
    return *value <= most && (*p != '-' || !*value);
}

static int float_value(const uint8_t *p, double *value)
{
    int whole;
    if (!p || !skip_number(p, &whole)) return 0;
    *value = decimal(p);
    return is_finite(*value);
}

/* --------------------------------------------------------------------------------------------------------- table */

enum { ORDER0, CONTEXTS, TRELLIS, TRELLIS_32, PLANES };
enum { DEAD_ZONE, GRID, MU_LAW, MINIFLOAT, HALF };

/* A trellis: what an odd level changes in the state behind it, and then that state for even levels, by the state before.
 * Odd levels are close to a coin flip, so that they are no branch. */
static const uint8_t trellis_8[] = {2, 0, 5, 1, 6, 2, 4, 3, 7};
static const uint8_t trellis_32[] = {11, 0, 30, 1, 31, 2, 28, 3, 29, 4, 26, 5, 27, 6, 24, 7, 25, 8, 22, 9, 23, 10, 20, 11, 21, 12,
                                     18, 13, 19, 14, 16, 15, 17};

typedef struct {
    const uint8_t *name; /* in the file's names */
    size_t name_size, name_at;
    int type, rank;
    uint64_t *shape;
    size_t shape_at;
    uint64_t elements, bytes;
    size_t row;
    uint64_t place; /* of its bytes in the ONNX model; 0: the graph has not asked for it yet */
} tensor;

typedef struct {
    uint64_t offset, bytes, padding, steps_bytes, items;
    uint32_t crc;
    int coder, kind, axes, axis; /* axes of a grid: bit 0, bit 1; axis: of a dead zone, -1 for none */
    const uint8_t *trellis;      /* of its levels, or NULL */
    size_t first, count;                  /* tensors */
    double delta, step, mu, x_max, exponent, scale;
    uint32_t levels;
    int p, q;
} row;

typedef struct {
    size_t length_at, begin, old_size; /* of a message in the graph; length_at: of its length */
    uint64_t new_size;
    size_t tensor;                                 /* SIZE_MAX: a message that holds one */
} edit;

struct enx_file {
    enx_allocator allocator;
    uint8_t *plain; /* table, then graph, then a byte: where JSON needs a zero behind it, the graph's first one is kept */
    size_t table_size, graph_size;
    uint64_t file_size, payloads;
    list rows, tensors, names, shapes, edits;
    size_t *by_name, *by_place; /* tensors in the order of their names, edits in that of the graph's bytes */
    uint64_t onnx_size;
};

/* Bytes of an element as stored, and elements in a byte; 0 for types that are not numbers or truth values. */
static unsigned type_bytes(uint64_t type)
{
    static const uint8_t sizes[] = {0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 8, 16, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return type < sizeof sizes ? sizes[type] : 0;
}

static unsigned type_packed(uint64_t type)
{
    return type >= 21 && type <= 23 ? 2 : type == 25 || type == 26 ? 4 : 1;
}

static uint64_t bytes_of(uint64_t elements, int type)
{
    unsigned packed = type_packed((uint64_t)type);
    return packed > 1 ? (elements + packed - 1) / packed : elements * type_bytes((uint64_t)type);
}

static int quantizable(int type) { return type == 1 || type == 10 || type == 11 || type == 16; }

#define ROWS(f) ((row *)(void *)(f)->rows.data)
#define TENSORS(f) ((tensor *)(void *)(f)->tensors.data)

static int read_tensor(enx_file *f, const uint8_t *p)
{
    const uint8_t *value[3];
    tensor t;
    memset(&t, 0, sizeof t);
    NEED(object(p, "name\0shape\0type\0", 3, value) && value[0] && value[1] && value[2], ENX_TABLE);
    uint64_t type;
    NEED(natural_value(value[2], 1 << 16, &type) && type_bytes(type), ENX_TABLE);
    NEED(*value[0] == '"' && *value[1] == '[', ENX_TABLE);
    t.type = (int)type;
    t.name_at = f->names.count;
    uint8_t c[4];
    unsigned size;
    for (p = value[0] + 1; *p != '"';) {
        p = character(p, c, &size);
        RETURN_IF(append(&f->allocator, &f->names, c, size, 1));
    }
    t.name_size = f->names.count - t.name_at;
    t.shape_at = f->shapes.count;
    t.elements = 1;
    uint64_t bound = 1;
    p = value[1];
    for (int first = 1; next_item(&p, first); first = 0) {
        uint64_t length;
        NEED(natural_value(p, MOST, &length) && t.rank < 64, ENX_TABLE);
        NEED(bound <= MOST / (length ? length : 1), ENX_TABLE);
        bound *= length ? length : 1;
        t.elements *= length;
        RETURN_IF(append(&f->allocator, &f->shapes, &length, 1, sizeof length));
        t.rank++;
    }
    t.bytes = bytes_of(t.elements, t.type);
    t.row = f->rows.count;
    return append(&f->allocator, &f->tensors, &t, 1, sizeof t);
}

static int positive_float32(double x) { float y = (float)x; return y > 0 && is_finite(y); }

static int read_quantizer(const enx_file *f, row *r, const uint8_t *p)
{
    static const char keys[] = "kind\0delta\0step\0axis\0axes\0trellis\0levels\0mu\0x_max\0exponent\0p\0q\0scale\0";
    enum { KIND, DELTA, STEP, AXIS, AXES, ON_TRELLIS, LEVELS, MU, X_MAX, EXPONENT, P, Q, SCALE, KEYS };
    static const uint16_t required[] = {1 << DELTA, 1 << STEP, 1 << LEVELS | 1 << MU | 1 << X_MAX | 1 << EXPONENT,
                                        1 << P | 1 << Q, 0};
    static const uint16_t optional[] = {1 << STEP | 1 << AXIS, 1 << AXES | 1 << ON_TRELLIS, 0, 1 << SCALE, 0};
    const uint8_t *value[KEYS];
    NEED(object(p, keys, KEYS, value) && value[KIND], ENX_TABLE);
    r->kind = (int)name_among(value[KIND], "dead-zone\0grid\0mu-law\0minifloat\0half\0");
    NEED(r->kind <= HALF, ENX_TABLE);
    unsigned there = 0;
    for (unsigned i = 1; i < KEYS; i++) there |= value[i] ? 1u << i : 0;
    NEED((there & required[r->kind]) == required[r->kind], ENX_TABLE);
    NEED(!(there & ~(required[r->kind] | optional[r->kind])), ENX_TABLE);
    const tensor *t = TENSORS(f) + r->first;
    const int single = r->count == 1 && t->elements > 0;
    uint64_t whole = 0;
    int steps = 0;
    r->axis = -1;
    r->scale = 1;
    if (value[STEP]) NEED(float_value(value[STEP], &r->step) && positive_float32(r->step), ENX_TABLE);
    switch (r->kind) {
    case DEAD_ZONE:
        NEED(float_value(value[DELTA], &r->delta) && r->delta >= 0 && r->delta <= 1, ENX_TABLE);
        NEED(!value[STEP] != !value[AXIS], ENX_TABLE);
        if (value[AXIS]) {
            NEED(natural_value(value[AXIS], 63, &whole) && single && (int)whole < t->rank, ENX_TABLE);
            r->axis = (int)whole;
            steps = 1;
        }
        break;
    case GRID:
        if (value[AXES]) {
            NEED(*value[AXES] == '[', ENX_TABLE);
            int last = -1;
            p = value[AXES];
            for (int first = 1; next_item(&p, first); first = 0) {
                NEED(natural_value(p, 1, &whole) && (int)whole > last, ENX_TABLE);
                NEED(r->count > 1 ? r->items && !whole : single && (int)whole < t->rank, ENX_TABLE);
                last = (int)whole;
                r->axes |= 1 << last;
            }
            steps = r->axes != 0;
        }
        if (value[ON_TRELLIS]) {
            const int is_32 = natural_value(value[ON_TRELLIS], 32, &whole) && whole == 32;
            r->trellis = *value[ON_TRELLIS] == 't' ? trellis_8 : is_32 ? trellis_32 : NULL;
            NEED(r->trellis || *value[ON_TRELLIS] == 'f', ENX_TABLE);
        }
        break;
    case MU_LAW:
        NEED(natural_value(value[LEVELS], 1 << 24, &whole) && whole >= 2, ENX_TABLE);
        r->levels = (uint32_t)whole;
        NEED(float_value(value[MU], &r->mu) && r->mu > 0 && r->mu <= 4294967296.0, ENX_TABLE);
        NEED(float_value(value[X_MAX], &r->x_max) && r->x_max > 0 && r->x_max < 1e30, ENX_TABLE);
        NEED(is_finite(r->x_max / r->mu), ENX_TABLE);
        NEED(float_value(value[EXPONENT], &r->exponent) && r->exponent > 0 && r->exponent <= 64, ENX_TABLE);
        break;
    case MINIFLOAT:
        NEED(natural_value(value[P], 7, &whole), ENX_TABLE);
        r->p = (int)whole;
        NEED(natural_value(value[Q], 12, &whole), ENX_TABLE);
        r->q = (int)whole;
        NEED(r->p + r->q >= 1, ENX_TABLE);
        if (value[SCALE]) {
            NEED(float_value(value[SCALE], &r->scale), ENX_TABLE);
            NEED(r->scale >= 1.0 / ((uint64_t)1 << 60) && r->scale <= (double)((uint64_t)1 << 60), ENX_TABLE);
        }
        break;
    default:
        break;
    }
    NEED(steps == (r->steps_bytes > 0), ENX_TABLE);
    if (r->coder >= TRELLIS || r->trellis) NEED(r->count == 1 && t->rank > 0, ENX_TABLE);
    return ENX_OK;
}

static int read_row(enx_file *f, const uint8_t *p)
{
    static const char keys[] = "tensors\0bytes\0crc32\0coder\0padding\0quantizer\0steps_bytes\0";
    const uint8_t *value[7];
    row r;
    memset(&r, 0, sizeof r);
    NEED(object(p, keys, 7, value) && value[0] && value[1] && value[2] && value[3], ENX_TABLE);
    r.coder = (int)name_among(value[3], "order0\0contexts\0trellis\0trellis-32\0planes\0");
    NEED(r.coder <= PLANES && (r.coder == PLANES) == !value[5], ENX_TABLE);
    NEED(natural_value(value[1], MOST, &r.bytes), ENX_TABLE);
    if (value[4]) NEED(natural_value(value[4], MOST, &r.padding), ENX_TABLE);
    if (value[6]) NEED(r.coder != PLANES && natural_value(value[6], MOST, &r.steps_bytes), ENX_TABLE);
    NEED(r.padding + r.steps_bytes <= r.bytes, ENX_TABLE);
    const uint8_t *hex = value[2] + 1;
    NEED(*value[2] == '"', ENX_TABLE);
    for (int i = 0; i < 8; i++) {
        unsigned c = hex[i];
        NEED((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'), ENX_TABLE);
        r.crc = r.crc << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    NEED(hex[8] == '"' && *value[0] == '[', ENX_TABLE);
    r.first = f->tensors.count;
    p = value[0];
    for (int first = 1; next_item(&p, first); first = 0) {
        RETURN_IF(read_tensor(f, p));
        const tensor *t = TENSORS(f) + f->tensors.count - 1, *before = TENSORS(f) + r.first;
        if (r.coder == PLANES) {
            NEED(type_bytes((uint64_t)t->type) == type_bytes((uint64_t)before->type), ENX_TABLE);
            r.items += t->bytes / type_bytes((uint64_t)t->type);
        } else {
            NEED(quantizable(t->type), ENX_TABLE);
            r.items += t->elements;
        }
        r.count++;
        NEED(r.items <= 4096 * r.bytes + 65536, ENX_TABLE);
    }
    NEED(r.count, ENX_TABLE);
    if (r.coder != PLANES) RETURN_IF(read_quantizer(f, &r, value[5]));
    r.offset = f->payloads;
    f->payloads += r.bytes;
    NEED(f->payloads <= f->file_size, ENX_TABLE);
    return append(&f->allocator, &f->rows, &r, 1, sizeof r);
}

static int compare_names(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : a_size < b_size ? -1 : a_size > b_size;
}

/* The numbers 0 to count - 1 of things in their order, which less(context, a, b) tells; NULL where there is no memory.
 * Heapsort: no recursion, and no input makes it slow. */
static size_t *sorted(const enx_allocator *a, size_t count, int (*less)(const void *, size_t, size_t), const void *context)
{
    size_t *order = take(a, count, sizeof *order);
    if (!order) return NULL;
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t root = count / 2, end = count; end > 1;) {
        if (root) {
            root--;
        } else {
            size_t last = order[--end];
            order[end] = order[0];
            order[0] = last;
        }
        for (size_t at = root, child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && less(context, order[child], order[child + 1])) child++;
            if (!less(context, order[at], order[child])) break;
            size_t swapped = order[at];
            order[at] = order[child];
            order[child] = swapped;
        }
    }
    return order;
}

static int less_tensor(const void *context, size_t a, size_t b)
{
    const tensor *t = context;
    return compare_names(t[a].name, t[a].name_size, t[b].name, t[b].name_size) < 0;
}

/* Points the tensors to their names and shapes, which do not move any more, and sees that no name is there twice. */
static int settle_tensors(enx_file *f)
{
    tensor *t = TENSORS(f);
    size_t count = f->tensors.count;
    for (size_t i = 0; i < count; i++) {
        t[i].name = f->names.data + t[i].name_at;
        t[i].shape = (uint64_t *)(void *)f->shapes.data + t[i].shape_at;
    }
    NEED(f->by_name = sorted(&f->allocator, count, less_tensor, t), ENX_NO_MEMORY);
    for (size_t i = 1; i < count; i++) NEED(less_tensor(t, f->by_name[i - 1], f->by_name[i]), ENX_TABLE);
    return ENX_OK;
}

/* The JSON at f->plain, which has size f->table_size, and a zero behind it: a whole table, or a row by itself. */
static int read_json(enx_file *f, int is_row)
{
    const uint8_t *text = f->plain, *value[2], *p = skip_value(text, NULL);
    int depth = 0;
    NEED(p && blank(p) == text + f->table_size, ENX_TABLE);
    if (is_row) {
        RETURN_IF(read_row(f, text));
    } else {
        NEED(object(text, "metadata\0parts\0", 2, value) && value[0] && value[1], ENX_TABLE);
        NEED(*value[0] == '{' && skip_value(value[0], &depth) && depth <= 100 && *value[1] == '[', ENX_TABLE);
        p = value[1];
        for (int first = 1; next_item(&p, first); first = 0) RETURN_IF(read_row(f, p));
    }
    return settle_tensors(f);
}

/* -------------------------------------------------------------------------------------- exact values, coder order0 */

enum { ORDER0_TOKENS = 8192, ORDER0_CHUNK = 1 << 18, RAW = 1 << 16 }; /* RAW: above all levels without raw bits */

typedef struct {
    unsigned shift, direct, k, tokens;
    int plain;       /* whether no token has raw bits */
    uint16_t *token; /* of each of 2^k slots: small, so that it stays in the nearest cache */
#ifdef ENX_BRIEF
#define NARROW(o) ((uint8_t *)0)
#else
#define NARROW(o) (o)->narrow
    uint8_t *narrow; /* the same in bytes, in its place where no token is above 255 */
#endif
    uint64_t *of;    /* of a token: frequency (16 bits), where its slots begin (16), level or RAW + token (32) */
    uint16_t frequency[ORDER0_TOKENS];
} order0;

static int read_frequencies(const enx_allocator *a, bits *b, order0 *o)
{
    uint8_t before[2];
    o->shift = (unsigned)get(b, 5);
    o->direct = (unsigned)get(b, 11);
    o->k = (unsigned)get(b, 4);
    unsigned m = (unsigned)get(b, 3);
    uint64_t tokens = gamma_code(b) + 1, largest = gamma_code(b);
    NEED(!b->failed && o->k >= 8 && tokens <= ORDER0_TOKENS && largest < tokens, ENX_PAYLOAD);
    o->tokens = (unsigned)tokens;
    before[0] = before[1] = (uint8_t)o->k;
    uint32_t whole = (uint32_t)1 << o->k, sum = 0;
    for (unsigned t = 0; t < tokens; t++) {
        int c = before[t & 1];
        o->frequency[t] = 0;
        if (t != largest) {
            unsigned z = ones(b, 64);
            c += z & 1 ? -(int)(z / 2 + 1) : (int)(z / 2);
            NEED(!b->failed && c >= 0 && c <= (int)o->k, ENX_PAYLOAD);
            uint32_t frequency = 0;
            if (c) {
                unsigned j = c - 1 < (int)m ? (unsigned)c - 1 : m;
                frequency = (uint32_t)((((uint64_t)1 << j) + get(b, j)) << ((unsigned)c - 1 - j));
            }
            sum += frequency;
            NEED(sum < whole, ENX_PAYLOAD);
            o->frequency[t] = (uint16_t)frequency;
        }
        before[t & 1] = (uint8_t)c;
    }
    o->frequency[largest] = (uint16_t)(whole - sum);
    align(b);
    NEED(!b->failed, ENX_PAYLOAD);
    o->plain = 1;
#ifndef ENX_BRIEF
    if (tokens <= 256) NEED(o->narrow = take(a, whole, 1), ENX_NO_MEMORY);
#endif
    if (!NARROW(o)) NEED(o->token = take(a, whole, sizeof *o->token), ENX_NO_MEMORY);
    NEED(o->of = take(a, tokens, sizeof *o->of), ENX_NO_MEMORY);
    uint32_t slot = 0;
    for (unsigned t = 0; t < tokens; t++) {
        const int has_raw = o->shift || t > 2 * o->direct;
        const uint32_t value = has_raw ? RAW + t : t & 1 ? (t + 1) / 2 : 0 - t / 2;
        if (has_raw && o->frequency[t]) o->plain = 0;
        o->of[t] = (uint64_t)value << 32 | slot << 16 | o->frequency[t];
        const uint32_t next = slot + o->frequency[t];
        if (NARROW(o)) memset(NARROW(o) + slot, (int)t, next - slot), slot = next;
        else while (slot < next) o->token[slot++] = (uint16_t)t;
    }
    return ENX_OK;
}

/* The next level or token of state x. Whether a word is due is close to a coin flip, so that it is no branch. */
static INLINE int32_t order0_next(const uint8_t *narrow, const uint16_t *token, const uint64_t *of, unsigned k,
                                  uint64_t *state, const uint8_t **word)
{
    uint64_t x = *state;
    const uint64_t slot = x & (((uint64_t)1 << k) - 1), t = of[narrow ? narrow[slot] : token[slot]];
    x = (t & 0xffff) * (x >> k) + slot - (t >> 16 & 0xffff);
    const uint64_t due = 0 - (uint64_t)(x < (uint64_t)1 << 24); /* all bits, or none */
    *state = x ^ ((x ^ (x << 16 | read16(*word))) & due);
    *word += due & 2;
    return (int32_t)(t >> 32);
}

#ifndef ENX_SMALL
/* Levels or tokens of four states from out[i] on: how far the words surely are there. Returns the next i. */
static INLINE size_t order0_four(const uint8_t *narrow, const uint16_t *token, const order0 *o, uint64_t *x,
                                 const uint8_t **word, const uint8_t *last, int32_t *out, size_t i, size_t stop)
{
    const uint64_t *of = o->of;
    const unsigned k = o->k;
    const uint8_t *at = *word;
    for (; i + 4 <= stop && last - at >= 8; i += 4) { /* whatever comes, the words are there */
        out[i] = order0_next(narrow, token, of, k, &x[0], &at);
        out[i + 1] = order0_next(narrow, token, of, k, &x[1], &at);
        out[i + 2] = order0_next(narrow, token, of, k, &x[2], &at);
        out[i + 3] = order0_next(narrow, token, of, k, &x[3], &at);
    }
    *word = at;
    return i;
}
#endif

/* Puts the raw bits of `count` levels in their places. */
static int order0_join(const order0 *o, bits *raw, int32_t *out, size_t count)
{
    const unsigned shift = o->shift, direct = o->direct;
    bits b = *raw;
    for (size_t i = 0; i < count; i++) {
#ifndef ENX_BRIEF /* most have none: compilers look at many at once */
        for (int some = 0; !some && count - i > 16; i += some ? 0 : 16)
            for (int j = 0; j < 16; j++) some |= out[i + (size_t)j] >= RAW;
#endif
        if (out[i] < RAW) continue;
        const unsigned t = (unsigned)out[i] - RAW;
        const uint64_t window = peek(&b);
        unsigned e = 0, negative = !(t & 1);
        uint64_t q = (t + 1) / 2;
        if (t > 2 * direct) {
            e = (t - 2 * direct - 1) / 2;
            negative = (t - 2 * direct - 1) & 1;
            NEED(e + shift <= 33, ENX_PAYLOAD);
            q = direct + ((uint64_t)1 << e) + (window >> shift & (((uint64_t)1 << e) - 1));
        }
        pass(&b, shift + e);
        const int64_t high = (int64_t)((q ^ (0 - (uint64_t)negative)) + negative) * ((int64_t)1 << shift);
        const int64_t level = high + (int64_t)(window & (((uint64_t)1 << shift) - 1));
        NEED(level == (int32_t)level, ENX_PAYLOAD);
        out[i] = (int32_t)level;
    }
    *raw = b;
    return ENX_OK;
}

/* One chunk of `count` levels: its bytes from `data` on, `words` words and then raw bits up to `end`. */
static int order0_chunk(const order0 *o, const uint8_t *data, uint64_t words, const uint8_t *end, int32_t *out, size_t count)
{
    enum { BLOCK = 1 << 12 }; /* as much as stays in the nearest cache, a multiple of the lanes */
    const unsigned lanes = count >= 1 << 15 ? 4 : 1;
    uint64_t x[4] = {0, 0, 0, 0};
    NEED((uint64_t)(end - data) / 2 >= words && (uint64_t)(end - data) - 2 * words >= 5 * lanes, ENX_PAYLOAD);
    for (unsigned i = 0; i < lanes; i++, data += 5) {
        x[i] = read32(data) | (uint64_t)data[4] << 32;
        NEED(x[i] >= (uint64_t)1 << 24, ENX_PAYLOAD);
    }
    const uint8_t *word = data, *last = data + 2 * words;
    bits raw = bits_of(last, (size_t)(end - last));
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        const size_t stop = count - begin < BLOCK ? count : begin + BLOCK;
        size_t i = begin;
#ifndef ENX_SMALL
        if (lanes == 4 && NARROW(o)) i = order0_four(NARROW(o), NULL, o, x, &word, last, out, i, stop);
        else if (lanes == 4) i = order0_four(NULL, o->token, o, x, &word, last, out, i, stop);
#endif
        for (; i < stop; i++) {
            static const uint8_t nothing[2] = {0, 0};
            const uint8_t *from = word < last ? word : nothing, *at = from;
            out[i] = order0_next(NARROW(o), o->token, o->of, o->k, &x[i & (lanes - 1)], &at);
            NEED(at == from || word < last, ENX_PAYLOAD);
            word += at - from;
        }
        if (!o->plain) RETURN_IF(order0_join(o, &raw, out + begin, stop - begin));
    }
    for (unsigned i = 0; i < lanes; i++) NEED(x[i] == (uint64_t)1 << 24, ENX_PAYLOAD);
    align(&raw);
    return word == last && !raw.failed && raw.at == raw.end ? ENX_OK : ENX_PAYLOAD;
}

static int order0_levels(const enx_allocator *a, const uint8_t *data, size_t size, int32_t *out, uint64_t count)
{
    if (!count) return size ? ENX_PAYLOAD : ENX_OK;
    order0 *o = take(a, 1, sizeof *o);
    NEED(o, ENX_NO_MEMORY);
    memset(o, 0, sizeof *o);
    bits b = bits_of(data, size);
    int code = read_frequencies(a, &b, o);
    /* the lengths stand before all chunks: a second reader passes over them to where the chunks begin */
    bits lengths = b;
    uint64_t chunks = (count + ORDER0_CHUNK - 1) / ORDER0_CHUNK;
    for (uint64_t c = 0; code == ENX_OK && c < 2 * chunks - 1; c++) {
        varint(&b);
        if (b.failed) code = ENX_PAYLOAD;
    }
    const uint8_t *at = data + b.at / 8, *end = data + size;
    for (uint64_t c = 0; code == ENX_OK && c < chunks; c++) {
        size_t now = (size_t)(c + 1 < chunks ? ORDER0_CHUNK : count - c * ORDER0_CHUNK);
        uint64_t words = varint(&lengths), left = (uint64_t)(end - at);
        const uint8_t *stop = end;
        if (c + 1 < chunks) {
            uint64_t raw = varint(&lengths), fixed = 5 * (now >= 1 << 15 ? 4 : 1);
            if (words > left / 2 || raw > left || fixed + 2 * words + raw > left) {
                code = ENX_PAYLOAD;
                break;
            }
            stop = at + fixed + 2 * words + raw;
        }
        code = order0_chunk(o, at, words, stop, out + c * ORDER0_CHUNK, now);
        at = stop;
    }
    give_back(a, o->token);
    give_back(a, NARROW(o));
    give_back(a, o->of);
    give_back(a, o);
    return code;
}

/* Coder planes: `count` elements of `width` bytes into out; *used tells how many bytes of data that took. */
static int planes(const enx_allocator *a, const uint8_t *data, size_t size, uint8_t *out, uint64_t count, unsigned width)
{
    bits b = bits_of(data, size);
    int32_t *levels = NULL;
    int code = ENX_OK;
    for (unsigned plane = 0; plane < width && code == ENX_OK; plane++) {
        uint64_t coded = varint(&b), length = coded ? coded : count;
        const uint8_t *from = data + b.at / 8;
        if (b.failed || length > (b.end - b.at) / 8) {
            code = ENX_PAYLOAD;
            break;
        }
        b.at += 8 * length;
        if (coded <= 1) {
            for (uint64_t i = 0; i < count; i++) out[i * width + plane] = from[coded ? 0 : i];
            continue;
        }
        if (!levels && !(levels = take(a, count, sizeof *levels))) return ENX_NO_MEMORY;
        code = count ? order0_levels(a, from, (size_t)length, levels, count) : ENX_PAYLOAD;
        for (uint64_t i = 0; i < count && code == ENX_OK; i++) {
            if (levels[i] < 0 || levels[i] > 255) code = ENX_PAYLOAD;
            out[i * width + plane] = (uint8_t)levels[i];
        }
    }
    give_back(a, levels);
    return code == ENX_OK && b.at != b.end ? ENX_PAYLOAD : code;
}

/* ------------------------------------------------------------------------------------ coders contexts and trellis */

static INLINE unsigned behind_level(const uint8_t *trellis, unsigned state, uint32_t level)
{
    return trellis[1 + state] ^ (trellis[0] & (0 - (level & 1)));
}

enum {
    CLASSES = 32, TOKENS = 64, NEAR = 31, SUMS = 6 * NEAR + 1, NUMBERS = 3 * 31,
    OF_ROW = 4096 + 4 * TOKENS /* bytes of a row: tokens, and their frequencies */
};

/* Tables have a row for each class; on a trellis two or four, for each end of its state. */
typedef struct {
    int classes, direct, groups, tokens, looking, on_trellis, rows_each; /* rows_each: of a class */
    const uint8_t *trellis;
    uint64_t rows, columns, places, width, kernels; /* places: positions of a kernel; width: of its lines */
    int8_t *row_number, *column_number, *place_number; /* NULL where all are 0 */
    int shift[5], weight[4];
    uint32_t mean[CLASSES], smallest[TOKENS];
    uint32_t own[2 * NUMBERS + 1]; /* by the sum of the numbers of row, column and position, from -NUMBERS on: where what
                                      belongs to its class begins, in `near` where that is there, else in `row` */
    uint16_t share[5][TOKENS]; /* of 256, that the sign is the neighbours'; 256 for a token 0, which has none */
    uint8_t *row;              /* by row: the token of each of 4096 slots; by token its frequency (uint32), and above 16 bits
                                  where its slots begin */
    uint8_t *near;             /* by own class: by N (7 of them) and Y (SUMS) the first row of the weight's class; by Z,
                                  where 0 is the `middle`, how sure the sign is */
    uint32_t middle;
    void *line;                /* memory for `line` and `sums` of lanes */
} contexts;

static uint32_t hazard(int exponent)
{
    static const uint16_t roots[] = {32768, 38968, 46341, 55109};
    uint64_t o = (uint64_t)roots[exponent & 3] << (16 + (exponent - (exponent & 3)) / 4);
    uint32_t h = (uint32_t)((o << 16) / (o + ((uint64_t)1 << 31)));
    return h ? h : 1;
}

static void class_frequencies(const int *exponent, int hazards, contexts *c, int row_)
{
    uint64_t left = (uint64_t)1 << 30;
    uint64_t stay = 65536 - hazard(exponent[hazards - 1]);
    uint8_t *token = c->row + row_ * OF_ROW;
    uint32_t sum = 0, *slots = (uint32_t *)(void *)(token + 4096);
    int largest = 0;
    for (int t = 0; t < c->tokens; t++) {
        uint64_t mass;
        if (t <= c->direct) {
            mass = left * hazard(exponent[t < hazards ? t : hazards - 1]) >> 16;
        } else {
            mass = left * (65536 - stay) >> 16;
            stay = stay * stay >> 16;
        }
        if (t == c->tokens - 1) mass = left;
        left -= mass;
        uint32_t f = (uint32_t)(mass >> 18);
        slots[t] = f ? f : 1;
        sum += slots[t];
        if (slots[t] > slots[largest]) largest = t;
    }
    slots[largest] = slots[largest] + 4096 - sum;
    for (uint32_t t = 0, at = 0; t < (uint32_t)c->tokens; t++) {
        memset(token + at, (int)t, slots[t]);
        at += slots[t];
        slots[t] |= (at - slots[t]) << 16;
    }
}

static int read_scales(const enx_allocator *a, bits *b, int there, uint64_t count, int8_t **numbers)
{
    if (!there) return ENX_OK;
    NEED(count <= b->end - b->at, ENX_PAYLOAD); /* each takes a bit at least */
    *numbers = take(a, count, 1);
    NEED(*numbers, ENX_NO_MEMORY);
    unsigned low = (unsigned)get(b, 2);
    for (uint64_t i = 0; i < count; i++) {
        int n = number(b, low);
        NEED(n >= -31 && n <= 31, ENX_PAYLOAD);
        (*numbers)[i] = (int8_t)n;
    }
    return ENX_OK;
}

static int tables_of_neighbours(const enx_allocator *a, contexts *c)
{
    static const uint8_t edges[4] = {10, 14, 19, 27}, sure[4] = {1, 4, 8, 15};
    const int most = (int)c->middle - 7 * SUMS;
    uint8_t *near = c->near = take(a, (uint64_t)c->classes, (size_t)(7 * SUMS + 2 * most + 1));
    NEED(near, ENX_NO_MEMORY);
    for (int own = 0; own < c->classes; own++) {
        const int64_t mean = c->mean[own];
        for (int n = 3; n < 10; n++)
            for (int y = 0, step = 0; y < SUMS; y++) {
                while (step < 4 && 1024 * (int64_t)y + 48 * mean >= (int64_t)edges[step] * n * mean) step++;
                *near++ = (uint8_t)(clamp(own + c->shift[step], 0, c->classes - 1) * c->rows_each);
            }
        for (int z = 0, s = 0; z <= most; z++) {
            while (s < 4 && 128 * (int64_t)z >= sure[s] * mean) s++;
            near[most - z] = near[most + z] = (uint8_t)s;
        }
        near += 2 * most + 1;
    }
    return ENX_OK;
}

static int read_contexts(const enx_allocator *a, bits *b, contexts *c)
{
    static const int8_t usual[5][3] = {{0, 0, 0}, {2, 3, 3}, {4, 6, 7}, {6, 9, 11}, {8, 12, 13}};
    static const int8_t moved[9] = {-1, -1, 0, 1, 2, 3, 3, -1, 0};
    int exponent[CLASSES][16], there[3];
    c->classes = (int)get(b, 5) + 1;
    int hazards = (int)get(b, 4) + 1;
    c->direct = (int)get(b, 6);
    c->groups = (int)get(b, 5);
    c->looking = (int)get(b, 1);
    for (int i = 0; i < 3; i++) there[i] = (int)get(b, 1);
    NEED(!b->failed && c->groups <= 30 && c->direct + c->groups < TOKENS, ENX_PAYLOAD);
    c->tokens = c->direct + 1 + c->groups;
    for (int t = 0; t < c->tokens; t++)
        c->smallest[t] = t <= c->direct ? (uint32_t)t : (uint32_t)c->direct + ((uint32_t)1 << (t - c->direct - 1));
    unsigned low = (unsigned)get(b, 2);
    const int k = c->classes, rows_each = c->rows_each;
    c->row = take(a, (uint64_t)(k * rows_each), OF_ROW);
    NEED(c->row, ENX_NO_MEMORY);
    for (int i = k - 1; i >= 0; i--)
        for (int m = 0; m < hazards; m++) {
            int expected = m ? exponent[i][m - 1] : 0;
            if (i < k - 1) {
                int slope = i < k - 2 ? exponent[i + 1][m] - exponent[i + 2][m] : 0;
                expected = clamp(exponent[i + 1][m] + clamp(slope, -8, 8), -64, 63);
            }
            exponent[i][m] = expected + number(b, low);
            NEED(!b->failed && exponent[i][m] >= -64 && exponent[i][m] <= 63, ENX_PAYLOAD);
        }
    for (int end = 0; end < rows_each; end++) { /* the first hazards are others for each end of the state but 0 */
        static const int8_t often[][2] = {{-5, -3}, {3, -1}, {-1, -5}};
        const int firsts = end ? rows_each / 2 : 0, rest = firsts < hazards ? firsts : hazards - 1;
        int own[CLASSES][18];
        for (int i = 0; i < k; i++) memcpy(own[i] + firsts, exponent[i] + rest, sizeof(int) * (size_t)(hazards - rest));
        if (end == 1) low = (unsigned)get(b, 2);
        for (int m = 0; m < firsts; m++) {
            int shift = often[end - 1][m];
            for (int i = k - 1; i >= 0; i--) {
                shift += number(b, low);
                own[i][m] = exponent[i][m < hazards ? m : hazards - 1] + shift;
                NEED(!b->failed && own[i][m] >= -64 && own[i][m] <= 63, ENX_PAYLOAD);
            }
        }
        for (int i = 0; i < k; i++) class_frequencies(own[i], firsts + hazards - rest, c, rows_each * i + end);
    }
    for (int i = 0; i < k; i++) {
        const uint32_t *slots = (const uint32_t *)(const void *)(c->row + i * rows_each * OF_ROW + 4096);
        uint64_t sum = 0;
        for (int t = 0; t < c->tokens; t++)
            sum += (uint64_t)(slots[t] & 0xffff) * (c->smallest[t] < 1u << 20 ? c->smallest[t] : 1u << 20);
        c->mean[i] = sum / 64 ? (uint32_t)(sum / 64) : 1;
    }
    const int offset = (int)get(b, 7) - 64;
    RETURN_IF(read_scales(a, b, there[0], c->rows, &c->row_number));
    RETURN_IF(read_scales(a, b, there[1], c->columns, &c->column_number));
    RETURN_IF(read_scales(a, b, there[2], c->places, &c->place_number));
    int sum[3] = {0, 0, 0};
    low = (unsigned)get(b, 2);
    for (int i = 0; i < (c->looking ? 5 : 1); i++) {
        c->share[i][0] = 256;
        for (int j = 0; j < 3; j++) {
            sum[j] += number(b, low);
            int e = usual[i][j] + sum[j];
            NEED(!b->failed && e >= -64 && e <= 63, ENX_PAYLOAD);
            c->share[i][j + 1] = (uint16_t)clamp((int)(hazard(e) >> 8), 1, 255);
        }
        for (int t = 4; t < TOKENS; t++) c->share[i][t] = c->share[i][3];
    }
    if (c->looking) {
        int heavy = 0;
        low = (unsigned)get(b, 2);
        for (int i = 0; i < 9; i++) {
            int n = moved[i] + number(b, low);
            if (i < 5) c->shift[i] = n;
            else c->weight[i - 5] = n;
            heavy += i < 5 ? 0 : n < 0 ? -n : n;
        }
        NEED(heavy <= 32, ENX_PAYLOAD);
        c->middle = (uint32_t)(7 * SUMS + NEAR * heavy);
    }
    align(b);
    NEED(!b->failed, ENX_PAYLOAD);
    const int near = c->looking && c->places > 1, size = near ? 2 * (int)c->middle - 7 * SUMS + 1 : rows_each * OF_ROW;
    for (int i = -NUMBERS; i <= NUMBERS; i++) c->own[NUMBERS + i] = (uint32_t)(clamp(i + offset, 0, k - 1) * size);
    return near ? tables_of_neighbours(a, c) : ENX_OK;
}

typedef struct { const uint8_t *at, *end; } words;

/* The word is read whether it is due or not, so that no branch has to be guessed. `sure`: there are words left. */
static INLINE uint64_t refilled(uint64_t x, words *w, int sure)
{
    static const uint8_t nothing[4] = {0, 0, 0, 0};
    const int there = sure || w->at < w->end;
    const uint64_t due = 0 - (uint64_t)(there & (x < (uint64_t)1 << 31)); /* all bits, or none */
    const uint64_t longer = x << 32 | read32(there ? w->at : nothing);
    w->at += due & 4;
    return x ^ ((x ^ longer) & due);
}

/* What each weight asks for, where the compiler sees that storing levels does not change it. */
typedef struct {
    const contexts *c;
    const uint8_t *row, *near, *trellis;
    uint32_t direct, rows_each, middle;
} tables;

static tables tables_of(const contexts *c)
{
    const tables t = {c, c->row, c->near, c->trellis, (uint32_t)c->direct, (uint32_t)c->rows_each, c->middle};
    return t;
}

/* The rest of a magnitude whose token t has one, and raw bits. */
static INLINE uint32_t long_magnitude(const contexts *c, uint32_t t, uint64_t *state, words *w, int sure)
{
    uint32_t magnitude = c->smallest[t];
    for (int e = (int)t - c->direct - 1, i = 0; i < e; i += 16) {
        const int width = e - i < 16 ? e - i : 16;
        magnitude += (uint32_t)(*state & (((uint32_t)1 << width) - 1)) << i;
        *state = refilled(*state >> width, w, sure);
    }
    return magnitude;
}

/* The next magnitude, which state x is taken to; *other: all bits set if the sign is not the expected one. */
static INLINE uint32_t next_magnitude(const tables *k, const uint8_t *row_, const uint16_t *shares, uint64_t *state, words *w,
                                      int sure, uint32_t *other)
{
    uint64_t x = *state;
    const uint32_t slot = (uint32_t)(x & 4095), t = row_[slot], slots = ((const uint32_t *)(const void *)(row_ + 4096))[t];
    x = (uint64_t)(slots & 0xffff) * (x >> 12) + slot - (slots >> 16);
    const uint32_t share = shares[t], chance = (uint32_t)(x & 255), o = 0 - (uint32_t)(chance >= share);
    x = (uint64_t)((share ^ o) + (257 & o)) * (x >> 8) + chance - (share & o); /* share, or 256 - share */
    *state = refilled(x, w, sure);
    *other = o;
    return t > k->direct ? long_magnitude(k->c, t, state, w, sure) : t;
}

/* Weights are decoded together, one of each of LANES strands (a strand: a kernel, on a trellis a row of kernels). What
 * neighbours tell is added up for all of them at once, in numbers of which each strand has 16 bits. A negative number
 * takes one of the strand above it, which is given back when `middle` is added to each, before they are read. */
enum { LANES = 4, MOST_BYTES = 3 * 4 }; /* three words: what a weight takes at most */
#define EACH (uint64_t)0x0001000100010001
typedef struct { uint64_t levels, magnitudes; } cell; /* kept within NEAR */
typedef struct {
    uint64_t x[LANES];
    unsigned path[LANES]; /* on a trellis: the state */
    cell *line;           /* the line above, which becomes this one; a cell of zeros at both ends */
    cell *sums;           /* of this line: over the three neighbours above */
} lanes;

static INLINE uint64_t times(int weight, uint64_t numbers) { return (uint64_t)(int64_t)weight * numbers; }

/* Z, from `middle` on, and Y over the neighbours above, of each column. */
static INLINE void sum_above(const contexts *c, const lanes *l, size_t width)
{
    for (size_t column = 0; column < width; column++) {
        const cell *before = l->line + column, *above = before + 1, *right = before + 2;
        l->sums[column].levels = times(c->weight[1], above->levels) + times(c->weight[2], before->levels)
                               + times(c->weight[3], right->levels) + c->middle * EACH;
        l->sums[column].magnitudes = 2 * above->magnitudes + before->magnitudes + right->magnitudes;
    }
}

/* The weight of strand i; `own`: where what belongs to its class begins; `sums`: where in that Z and Y are looked up;
 * `now`: what this weight is to its neighbours, magnitudes, and in `levels` those of negative ones. */
static INLINE void decode_weight(const tables *k, lanes *l, unsigned i, int near, int on_trellis, int sure, size_t own,
                                 const cell *sums, cell *now, int32_t *at, words *w)
{
    const contexts *c = k->c;
    const uint16_t *shares = c->share[0];
    const uint8_t *row_ = k->row + own;
    uint32_t expected = 0;
    if (near) {
        const uint8_t *found = k->near + own;
        const uint32_t z = (uint32_t)(sums->levels >> 16 * i & 0xffff);
        row_ = k->row + OF_ROW * (size_t)found[sums->magnitudes >> 16 * i & 0xffff];
        shares = c->share[found[z]];
        expected = 0 - (uint32_t)(z < k->middle);
    }
    if (on_trellis) row_ += OF_ROW * (size_t)(l->path[i] & (k->rows_each - 1));
    uint32_t other;
    const uint32_t magnitude = next_magnitude(k, row_, shares, &l->x[i], w, sure, &other);
    const uint32_t minus = other ^ expected;
    *at = (int32_t)((magnitude ^ minus) - minus);
    if (on_trellis) l->path[i] = behind_level(k->trellis, l->path[i], magnitude);
    if (near) {
        const uint32_t seen = magnitude < NEAR ? magnitude : NEAR;
        now->magnitudes += (uint64_t)seen << 16 * i;
        now->levels += (uint64_t)(seen & minus) << 16 * i;
    }
}

/* A weight of each strand in `column` of a line, the first at `at`, the others each `length` behind; `own`: of the first
 * position. */
static INLINE void decode_column(const tables *k, lanes *l, unsigned count, int near, int on_trellis, int sure,
                                 const uint32_t *const *own, int more, uint64_t around, size_t column, int32_t *at,
                                 size_t length, words *w)
{
    cell sums = {0, 0}, now = {0, 0};
    if (near) {
        const cell *left = l->line + column, *above = l->sums + column;
        sums.levels = above->levels + times(k->c->weight[0], left->levels);
        sums.magnitudes = above->magnitudes + 2 * left->magnitudes + around;
    }
#ifndef ENX_BRIEF
    if (count == LANES) { /* spelt out, so that states stay in registers */
        decode_weight(k, l, 0, near, on_trellis, sure, own[0][more], &sums, &now, at, w);
        decode_weight(k, l, 1, near, on_trellis, sure, own[1][more], &sums, &now, at + length, w);
        decode_weight(k, l, 2, near, on_trellis, sure, own[2][more], &sums, &now, at + 2 * length, w);
        decode_weight(k, l, 3, near, on_trellis, sure, own[3][more], &sums, &now, at + 3 * length, w);
    } else
#endif
    for (unsigned i = 0; i < count; i++)
        decode_weight(k, l, i, near, on_trellis, sure, own[i][more], &sums, &now, at + i * length, w);
    if (near) {
        cell *here = l->line + column + 1;
        here->levels = now.magnitudes - 2 * now.levels;
        here->magnitudes = now.magnitudes;
    }
}

#ifndef ENX_BRIEF
/* The same where words may run out, for whatever is not common: small, and no part of the loops that call it. */
static void decode_carefully(const tables *k, lanes *l, unsigned count, const uint32_t *const *own, int more,
                             uint64_t around, size_t column, int32_t *at, size_t length, words *w)
{
    decode_column(k, l, count, k->near != NULL, k->c->on_trellis, 0, own, more, around, column, at, length, w);
}
#endif

static INLINE void decode_weights(const tables *k, lanes *l, unsigned count, int near, int on_trellis,
                                  const uint32_t *const *own, int more, uint64_t around, size_t column, int32_t *at,
                                  size_t length, words *w)
{
#ifndef ENX_BRIEF
    if (w->end - w->at < MOST_BYTES * (int)count) {
        lanes copy = *l; /* of which an address may be taken */
        words rest = *w;
        decode_carefully(k, &copy, count, own, more, around, column, at, length, &rest);
        *l = copy;
        *w = rest;
    } else {
        decode_column(k, l, count, near, on_trellis, 1, own, more, around, column, at, length, w);
    }
#else
    decode_column(k, l, count, near, on_trellis, 0, own, more, around, column, at, length, w);
#endif
}

/* `groups` times `count` strands of `strand` kernels each; `numbers`: of their rows (and columns, without a trellis).
 * What is constant where this is called makes a loop of its own. */
static INLINE void decode_strands(const contexts *c, lanes *all, unsigned count, int near, int on_trellis,
                                  int single, const int16_t *numbers, size_t groups, size_t strand, int32_t *out, words *w_)
{
    const size_t width = single ? 1 : (size_t)c->width, places = single ? 1 : (size_t)c->places;
    const size_t length = strand * places;
    const int8_t *by_column = on_trellis ? c->column_number : NULL;
    const tables fast = tables_of(c);
    lanes l = *all;
    words w = *w_;
    for (size_t g = 0; g < groups; g++, numbers += count, out += count * length) {
        int32_t *at = out;
        memset(l.path, 0, sizeof l.path);
        for (size_t k = 0; k < strand; k++) {
            const int8_t *place = c->place_number;
            const uint32_t *own[LANES] = {0, 0, 0, 0};
            for (unsigned i = 0; i < count; i++) own[i] = c->own + NUMBERS + numbers[i] + (by_column ? by_column[k] : 0);
            if (near) memset(l.line, 0, sizeof(cell) * (width + 2));
            for (size_t line = 0; line < places; line += width) {
                if (near) sum_above(c, &l, width);
                for (size_t column = 0; column < width; column++, at++) {
                    const int more = place ? *place++ : 0;
                    uint64_t around = 0;
                    if (near) around = EACH * SUMS * (line ? (column ? 5u : 2u) + (column + 1 < width) : column ? 2u : 0u);
                    decode_weights(&fast, &l, count, near, on_trellis, own, more, around, column, at, length, &w);
                }
            }
        }
    }
    *all = l;
    *w_ = w;
}

/* Which row the next strand of the payload lies in, and which of its `strands` it is; of several tensors, each is a row. */
typedef struct { uint64_t row, strand, strands; const tensor *tensors; } place;

/* Goes on by `count` strands of the row, and past rows that have none. */
static void step_on(const contexts *c, place *at, size_t count)
{
    at->strand += count;
    while (at->strand == at->strands && at->row < c->rows) {
        at->row++;
        at->strand = 0;
        if (at->tensors && at->row < c->rows) at->strands = at->tensors[at->row].elements;
    }
}

/* A chunk of kernels (on a trellis: of rows of `strand` kernels), `length` bytes, to levels from `out` on. */
static int contexts_chunk(const contexts *c, const uint8_t *data, uint64_t length, int32_t *out, uint64_t strands,
                          uint64_t strand, place *at, void *line)
{
    enum { BLOCK = 256 };
    const uint64_t count = strands * strand * c->places;
    const unsigned states = count >= 1 << 16 ? LANES : 1;
    const uint64_t width = states > 1 ? 8 : length < 5 ? length : 5 + (length - 5) % 4;
    int16_t numbers[BLOCK];
    lanes l;
    memset(&l, 0, sizeof l);
    l.line = line;
    l.sums = l.line ? l.line + c->width + 2 : NULL;
    NEED(length >= states * width && (length - states * width) % 4 == 0, ENX_PAYLOAD);
    for (unsigned i = 0; i < states; i++) {
        for (uint64_t j = 0; j < width; j++) l.x[i] |= (uint64_t)*data++ << 8 * j;
        NEED(l.x[i] < (uint64_t)1 << 63 && (states == 1 || l.x[i] >= (uint64_t)1 << 31), ENX_PAYLOAD);
    }
    words w = {data, data + (length - states * width)};
    const int near = c->near != NULL;
    for (uint64_t done = 0; done < strands;) {
        const size_t left = strands - done < BLOCK ? (size_t)(strands - done) : BLOCK;
        const unsigned together = left < states ? (unsigned)left : states;
        const size_t now = left - left % together, groups = now / together;
        for (size_t i = 0; i < now;) { /* strands of one row at a time */
            const int8_t *by_column = c->on_trellis ? NULL : c->column_number;
            int16_t of_row = c->row_number ? c->row_number[at->row] : 0;
            const uint64_t left_of_row = at->strands - at->strand;
            const size_t run = left_of_row < now - i ? (size_t)left_of_row : now - i;
            if (by_column && at->tensors) of_row = (int16_t)(of_row + by_column[0]); /* several tensors are one column */
            for (size_t j = 0; j < run; j++)
                numbers[i + j] = (int16_t)(by_column && !at->tensors ? of_row + by_column[at->strand + j] : of_row);
            step_on(c, at, run);
            i += run;
        }
#define STRANDS(count, near, trellis, single) \
    decode_strands(c, &l, count, near, trellis, single, numbers, groups, (size_t)strand, out, &w)
#ifndef ENX_BRIEF /* loops of their own for what is common */
        const int kind = (c->places == 1) + 2 * near + 4 * c->on_trellis;
        if (together == LANES && kind == 1) STRANDS(LANES, 0, 0, 1);
        else if (together == LANES && kind == 2) STRANDS(LANES, 1, 0, 0);
        else if (together == LANES && kind == 5) STRANDS(LANES, 0, 1, 1);
        else if (together == LANES && kind == 6) STRANDS(LANES, 1, 1, 0);
        else if (together == 1 && kind == 1) STRANDS(1, 0, 0, 1);
        else if (together == 1 && kind == 2) STRANDS(1, 1, 0, 0);
        else if (together == 1 && kind == 5) STRANDS(1, 0, 1, 1);
        else if (together == 1 && kind == 6) STRANDS(1, 1, 1, 0);
        else
#else /* matrices have no neighbours to add up */
        if (together == LANES && c->places == 1) STRANDS(LANES, 0, c->on_trellis, 1);
        else
#endif
            STRANDS(together, near, c->on_trellis, 0);
        done += now;
        out += now * strand * c->places;
    }
    for (unsigned i = 0; i < states; i++) NEED(l.x[i] == (states == 1 ? 0 : (uint64_t)1 << 31), ENX_PAYLOAD);
    return w.at == w.end ? ENX_OK : ENX_PAYLOAD;
}

static int decode_contexts(contexts *c, const enx_allocator *a, const uint8_t *data, size_t size, int32_t *out, const tensor *several)
{
    bits b = bits_of(data, size);
    RETURN_IF(read_contexts(a, &b, c));
    if (c->near) NEED(c->line = take(a, 2 * c->width + 2, sizeof(cell)), ENX_NO_MEMORY);
    const uint64_t strand = c->on_trellis ? c->columns : 1, strands = c->kernels / strand;
    const uint64_t most = ((uint64_t)1 << 18) / (c->places * strand), step = most ? most : 1;
    const uint64_t chunks = (strands + step - 1) / step;
    bits lengths = b;
    for (uint64_t i = 1; i < chunks; i++) {
        varint(&b);
        NEED(!b.failed, ENX_PAYLOAD);
    }
    const uint8_t *from = data + b.at / 8, *end = data + size;
    place at = {0, 0, several ? several->elements : c->columns / strand, several};
    step_on(c, &at, 0); /* past empty tensors in front */
    for (uint64_t i = 0; i < chunks; i++) {
        const uint64_t left = (uint64_t)(end - from), length = i + 1 < chunks ? varint(&lengths) : left;
        const uint64_t now = i + 1 < chunks ? step : strands - i * step;
        NEED(length <= left, ENX_PAYLOAD);
        RETURN_IF(contexts_chunk(c, from, length, out + i * step * strand * c->places, now, strand, &at, c->line));
        from += length;
    }
    return ENX_OK;
}

static int contexts_levels(const enx_file *f, const row *r, const uint8_t *data, size_t size, int32_t *out)
{
    const enx_allocator *a = &f->allocator;
    const tensor *t = (const tensor *)(const void *)f->tensors.data + r->first;
    contexts *c = take(a, 1, sizeof *c);
    NEED(c, ENX_NO_MEMORY);
    memset(c, 0, sizeof *c);
    c->on_trellis = r->coder != CONTEXTS;
    c->trellis = r->coder == TRELLIS ? trellis_8 : trellis_32;
    c->rows_each = 1 << (r->coder - CONTEXTS); /* 1, 2 or 4 */
    c->rows = r->count;
    c->columns = c->places = c->width = 1;
    if (r->count == 1) {
        c->rows = t->rank > 0 ? t->shape[0] : 1;
        c->columns = t->rank > 1 ? t->shape[1] : 1;
        for (int i = 2; i < t->rank; i++) c->places *= t->shape[i];
        c->width = t->rank > 2 ? t->shape[t->rank - 1] : 1;
    }
    c->kernels = r->items / c->places;
    int code = decode_contexts(c, a, data, size, out, r->count > 1 ? t : NULL);
    give_back(a, c->row_number);
    give_back(a, c->column_number);
    give_back(a, c->place_number);
    give_back(a, c->row);
    give_back(a, c->near);
    give_back(a, c->line);
    give_back(a, c);
    return code;
}

/* ---------------------------------------------------------------------------------------------------- quantizers */

static INLINE uint32_t float_bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static INLINE float bits_float(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }

/* 2 to the power of e, |e| <= 1022, in float64. */
static double power_of_two(int e)
{
    uint64_t u = (uint64_t)(1023 + e) << 52;
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static float from_half(uint32_t h) /* 15 bits, finite */
{
    return h >= 1 << 10 ? bits_float((h << 13) + ((127 - 15) << 23)) : (float)h * (1.0f / 16777216.0f);
}

/* binary16 nearest to x, ties to even; what is too large becomes infinite. */
static uint16_t to_half(float x)
{
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* subnormal: adding 0.5 puts its bits in place, rounded as float32 rounds */
        return (uint16_t)(sign | (float_bits(bits_float(a) + 0.5f) - 0x3f000000));
    }
    a += 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | ((a - 0x38000000) >> 13));
}

static void store(uint8_t *out, int type, float x)
{
    uint32_t u = float_bits(x);
    if (type == 1) {
        write32(out, u);
    } else if (type == 11) {
        double d = x;
        uint64_t v;
        memcpy(&v, &d, 8);
        write32(out, (uint32_t)v);
        write32(out + 4, (uint32_t)(v >> 32));
    } else {
        uint32_t h = type == 10 ? to_half(x) : (u & 0x7f800000) == 0x7f800000 ? u >> 16 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
        out[0] = (uint8_t)h;
        out[1] = (uint8_t)(h >> 8);
    }
}

/* 2 to the power of e / 4 for |e| <= 96: one of four numbers times a power of two, which is exact. */
static float quarter_power(int e)
{
    static const uint32_t roots[] = {0x3f800000, 0x3f9837f0, 0x3fb504f3, 0x3fd744fd};
    int octave = (e - (e & 3)) / 4;
    return bits_float(roots[e & 3] + ((uint32_t)octave << 23));
}

static double exp2_of(double y) /* as the page says, for 0 <= y <= 1000 */
{
    int n = (int)y;
    double u = (y - n) * 0.6931471805599453, sum = 1;
    for (int k = 17; k >= 1; k--) {
        double product = sum * u;
        product = product / k;
        sum = product + 1;
    }
    return sum * power_of_two(n);
}

/* The value of a magnitude a under the quantizers that have one step for all. */
static int magnitude_value(const row *r, uint32_t a, float *value)
{
    if (r->kind == MU_LAW) {
        double y = (double)a * ((2 * r->exponent) / (double)r->levels);
        NEED(y <= 1000, ENX_PAYLOAD);
        double x = exp2_of(y) - 1;
        x = x * (r->x_max / r->mu);
        *value = (float)x;
    } else if (r->kind == MINIFLOAT) {
        NEED(a >= 1 && a - 1 < (uint32_t)1 << (r->p + r->q), ENX_PAYLOAD);
        int e = (int)((a - 1) >> r->q), bias = r->p ? (1 << (r->p - 1)) - 1 : 0;
        double m = 1 + (double)((a - 1) & ((1u << r->q) - 1)) / (double)(1u << r->q);
        m = m * power_of_two(e - bias);
        m = m * (double)(float)r->scale;
        *value = (float)m;
    } else {
        NEED(a < 0x7c00, ENX_PAYLOAD);
        *value = from_half(a);
    }
    return ENX_OK;
}

/* Levels on a trellis to what they stand for, in place: `rows` rows, each beginning in state 0. */
static int leave_trellis(const uint8_t *trellis, int32_t *levels, uint64_t rows, uint64_t length)
{
    for (uint64_t i = 0; i < rows; i++) {
        unsigned state = 0;
        for (uint64_t j = 0; j < length; j++, levels++) {
            const int32_t level = *levels, sign = (level > 0) - (level < 0);
            NEED(level > -(1 << 30) && level < 1 << 30, ENX_PAYLOAD);
            *levels = 2 * level - (sign & (0 - (int32_t)(state & 1)));
            state = behind_level(trellis, state, (uint32_t)level);
        }
    }
    return ENX_OK;
}

/* `count` values (level + add * its sign) * by * then, every step in float32; where `each` is not NULL, each[i] takes the
 * place of `then`. `out` may be where the levels are: a block of them is read before its values are written. */
static void scale(const int32_t *levels, uint64_t count, float add, float by, float then, const float *each, int type, uint8_t *out)
{
    enum { BLOCK = 64 };
    const unsigned size = type_bytes((uint64_t)type);
    float x[BLOCK];
    for (uint64_t done = 0; done < count; done += BLOCK) {
        const unsigned now = count - done < BLOCK ? (unsigned)(count - done) : BLOCK;
        for (unsigned i = 0; i < now; i++) {
            const int32_t level = levels[done + i];
            float moved = (float)level;
            if (add != 0) moved = moved + (float)((level > 0) - (level < 0)) * add;
            const float scaled = moved * by;
            x[i] = scaled * (each ? each[done + i] : then);
        }
        if (type == 1)
            for (unsigned i = 0; i < now; i++) write32(out + 4 * (done + i), float_bits(x[i]));
        else
            for (unsigned i = 0; i < now; i++) store(out + size * (done + i), type, x[i]);
    }
}

/* Levels of one tensor (in memory that may be `out` itself, where elements have four bytes) to its values. `steps`: what
 * read_steps found, NULL for nothing. The levels are lost. */
static int reconstruct(const row *r, const tensor *t, int32_t *levels, const float *steps, uint8_t *out)
{
    const unsigned size = type_bytes((uint64_t)t->type);
    const uint64_t n = t->elements;
    if (r->kind == DEAD_ZONE) {
        const uint64_t along = steps ? t->shape[r->axis] : 1;
        const float add = (float)(r->delta - 0.5);
        uint64_t inner = n;
        if (steps) inner = 1;
        for (int i = r->axis + 1; steps && i < t->rank; i++) inner *= t->shape[i];
        if (steps && inner == 1) /* the last axis, or what lies behind it has one element: a step for each value */
            for (uint64_t at = 0; at < n; at += along) scale(levels + at, along, add, 1, 1, steps, t->type, out + at * size);
        else
            for (uint64_t at = 0, s = 0; at < n; at += inner, s = s + 1 == along ? 0 : s + 1)
                scale(levels + at, inner, add, steps ? steps[s] : (float)r->step, 1, NULL, t->type, out + at * size);
        return ENX_OK;
    }
    if (r->kind == GRID) {
        const uint64_t rows = t->rank > 0 ? t->shape[0] : 1, columns = t->rank > 1 ? t->shape[1] : 1;
        const uint64_t length = n && rows ? n / rows : 0, inner = length && columns ? length / columns : 0;
        const float *of_rows = r->axes & 1 ? steps : NULL;
        const float *of_columns = r->axes & 2 ? steps + (r->axes & 1 ? rows : 0) : NULL;
        if (!n) return ENX_OK;
        if (r->trellis) RETURN_IF(leave_trellis(r->trellis, levels, rows, length));
        for (uint64_t i = 0; i < rows; i++, levels += length, out += length * size) {
            const float by = of_rows ? of_rows[r->count > 1 ? 0 : i] : (float)r->step;
            if (of_columns && inner > 1)
                for (uint64_t j = 0; j < columns; j++)
                    scale(levels + j * inner, inner, 0, by, of_columns[j], NULL, t->type, out + j * inner * size);
            else
                scale(levels, length, 0, by, 1, of_columns, t->type, out);
        }
        return ENX_OK;
    }
    uint32_t known = 0; /* levels repeat: the last magnitude's value is kept */
    float value = 0;
    int have = 0;
    for (uint64_t i = 0; i < n; i++) {
        const int32_t level = levels[i];
        const uint32_t a = level < 0 ? 0u - (uint32_t)level : (uint32_t)level;
        if (!have || a != known) RETURN_IF(magnitude_value(r, a, &value));
        known = a;
        have = 1;
        store(out + i * size, t->type, level < 0 ? -value : value);
    }
    return ENX_OK;
}

/* ---------------------------------------------------------------------------------------------------------- graph */

/* Messages of ONNX: field numbers and what is in them. Kinds are numbers of the table below. */
enum {
    MODEL, GRAPH, OPSET, PAIR, TRAINING, FUNCTION, CONFIGURATION, NODE, TENSOR, VALUE, ANNOTATION, SPARSE, ATTRIBUTE,
    DEVICE, SEGMENT, TYPE, SHARDING, ARRAY, WRAPPED, MAP, OPAQUE, GROUP, SHARDED, SHAPE, PIECE, DIMENSION, KINDS
};
enum { INT64 = KINDS, INT32, FLOAT32, FLOAT64, TEXT, DATA, UNKNOWN };
enum { ONCE = 0, MANY = 64, PACKED = 128, CHOICE = 192 }; /* CHOICE: one of those of a message that are marked so */
typedef struct { uint8_t number, what; } field; /* what: a kind or one of the above, and how often */

static const field model_fields[] = {{1, INT64}, {2, TEXT}, {3, TEXT}, {4, TEXT}, {5, INT64}, {6, TEXT}, {7, GRAPH},
    {8, OPSET | MANY}, {14, PAIR | MANY}, {20, TRAINING | MANY}, {25, FUNCTION | MANY}, {26, CONFIGURATION | MANY}, {0, 0}};
static const field graph_fields[] = {{1, NODE | MANY}, {2, TEXT}, {5, TENSOR | MANY}, {10, TEXT}, {11, VALUE | MANY},
    {12, VALUE | MANY}, {13, VALUE | MANY}, {14, ANNOTATION | MANY}, {15, SPARSE | MANY}, {16, PAIR | MANY}, {0, 0}};
static const field opset_fields[] = {{1, TEXT}, {2, INT64}, {0, 0}};
static const field pair_fields[] = {{1, TEXT}, {2, TEXT}, {0, 0}};
static const field training_fields[] = {{1, GRAPH}, {2, GRAPH}, {3, PAIR | MANY}, {4, PAIR | MANY}, {0, 0}};
static const field function_fields[] = {{1, TEXT}, {4, TEXT | MANY}, {5, TEXT | MANY}, {6, TEXT | MANY}, {7, NODE | MANY},
    {8, TEXT}, {9, OPSET | MANY}, {10, TEXT}, {11, ATTRIBUTE | MANY}, {12, VALUE | MANY}, {13, TEXT}, {14, PAIR | MANY}, {0, 0}};
static const field configuration_fields[] = {{1, TEXT}, {2, INT32}, {3, TEXT | MANY}, {0, 0}};
static const field node_fields[] = {{1, TEXT | MANY}, {2, TEXT | MANY}, {3, TEXT}, {4, TEXT}, {5, ATTRIBUTE | MANY},
    {6, TEXT}, {7, TEXT}, {8, TEXT}, {9, PAIR | MANY}, {10, DEVICE | MANY}, {0, 0}};
static const field tensor_fields[] = {{1, INT64 | MANY}, {2, INT32}, {3, SEGMENT}, {4, FLOAT32 | PACKED}, {5, INT32 | PACKED},
    {6, DATA | MANY}, {7, INT64 | PACKED}, {8, TEXT}, {9, DATA}, {10, FLOAT64 | PACKED}, {11, INT64 | PACKED}, {12, TEXT},
    {13, PAIR | MANY}, {14, INT32}, {16, PAIR | MANY}, {0, 0}};
static const field value_fields[] = {{1, TEXT}, {2, TYPE}, {3, TEXT}, {4, PAIR | MANY}, {0, 0}};
static const field annotation_fields[] = {{1, TEXT}, {2, PAIR | MANY}, {0, 0}};
static const field sparse_fields[] = {{1, TENSOR}, {2, TENSOR}, {3, INT64 | MANY}, {0, 0}};
static const field attribute_fields[] = {{1, TEXT}, {2, FLOAT32}, {3, INT64}, {4, DATA}, {5, TENSOR}, {6, GRAPH},
    {7, FLOAT32 | MANY}, {8, INT64 | MANY}, {9, DATA | MANY}, {10, TENSOR | MANY}, {11, GRAPH | MANY}, {13, TEXT}, {14, TYPE},
    {15, TYPE | MANY}, {20, INT32}, {21, TEXT}, {22, SPARSE}, {23, SPARSE | MANY}, {0, 0}};
static const field device_fields[] = {{1, TEXT}, {2, SHARDING | MANY}, {3, INT32}, {0, 0}};
static const field segment_fields[] = {{1, INT64}, {2, INT64}, {0, 0}};
static const field type_fields[] = {{1, ARRAY | CHOICE}, {4, WRAPPED | CHOICE}, {5, MAP | CHOICE}, {6, TEXT},
    {7, OPAQUE | CHOICE}, {8, ARRAY | CHOICE}, {9, WRAPPED | CHOICE}, {0, 0}};
static const field sharding_fields[] = {{1, TEXT}, {2, INT64 | MANY}, {3, GROUP | MANY}, {4, SHARDED | MANY}, {0, 0}};
static const field array_fields[] = {{1, INT32}, {2, SHAPE}, {0, 0}};
static const field wrapped_fields[] = {{1, TYPE}, {0, 0}};
static const field map_fields[] = {{1, INT32}, {2, TYPE}, {0, 0}};
static const field opaque_fields[] = {{1, TEXT}, {2, TEXT}, {0, 0}};
static const field group_fields[] = {{1, INT64}, {2, INT64 | MANY}, {0, 0}};
static const field sharded_fields[] = {{1, INT64}, {2, PIECE | MANY}, {0, 0}};
static const field shape_fields[] = {{1, DIMENSION | MANY}, {0, 0}};
static const field piece_fields[] = {{1, INT64 | CHOICE}, {2, TEXT | CHOICE}, {3, INT64}, {0, 0}};
static const field dimension_fields[] = {{1, INT64 | CHOICE}, {2, TEXT | CHOICE}, {3, TEXT}, {0, 0}};
static const field *const messages[KINDS] = {
    model_fields, graph_fields, opset_fields, pair_fields, training_fields, function_fields, configuration_fields,
    node_fields, tensor_fields, value_fields, annotation_fields, sparse_fields, attribute_fields, device_fields,
    segment_fields, type_fields, sharding_fields, array_fields, wrapped_fields, map_fields, opaque_fields, group_fields,
    sharded_fields, shape_fields, piece_fields, dimension_fields};

enum { LEVELS_DEEP = 101, SMALL_GRAPH = 1 << 20 };

/* A field at `at`: its number, how it is written, its value (of a number, or the length of what follows) and where
 * that begins. 0 where there is none. Numbers have to be as short as they can be. */
typedef struct { size_t start, begin, end; uint64_t value; uint32_t number; unsigned wire; } found;

static int leb128(const uint8_t *data, size_t *at, size_t end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (*at >= end) return 0;
        const uint64_t byte = data[(*at)++];
        if (shift == 63 && byte > 1) return 0;
        *value |= (byte & 127) << shift;
        if (byte < 128) return byte || !shift;
    }
    return 0;
}

static int next_field(const uint8_t *data, size_t at, size_t end, found *f)
{
    uint64_t key;
    f->start = at;
    if (!leb128(data, &at, end, &key) || key >> 32) return 0;
    f->number = (uint32_t)(key >> 3);
    f->wire = (unsigned)(key & 7);
    if (!f->number) return 0;
    f->value = 0;
    f->begin = at;
    if (f->wire == 0 || f->wire == 2) {
        if (!leb128(data, &at, end, &f->value)) return 0;
        if (f->wire == 2) f->begin = at;
    }
    const uint64_t length = f->wire == 2 ? f->value : f->wire == 1 ? 8 : f->wire == 5 ? 4 : 0;
    if ((f->wire != 0 && !length && f->wire != 2) || length > end - at) return 0;
    f->end = at + (size_t)length;
    return 1;
}

static unsigned leb128_size(uint64_t value)
{
    unsigned size = 1;
    while (value >>= 7) size++;
    return size;
}

static void write_leb128(uint8_t *out, uint64_t value)
{
    for (; value > 127; value >>= 7) *out++ = (uint8_t)(value | 128);
    *out = (uint8_t)value;
}

static int fits_int32(uint64_t value) { return (int64_t)value >= INT32_MIN && (int64_t)value <= INT32_MAX; }

/* What a field of a message is: UNKNOWN where it has no meaning or is written in another way than its meaning asks. */
static int meaning(int kind, const found *f, const field **defined)
{
    for (const field *d = messages[kind]; d->number; d++) {
        if (d->number != f->number) continue;
        const int what = d->what & 63, often = d->what & 192;
        const unsigned wire = what == INT64 || what == INT32 ? 0 : what == FLOAT64 ? 1 : what == FLOAT32 ? 5 : 2;
        *defined = d;
        if (often == PACKED && f->wire == 2) return what;
        if (f->wire != wire) {
            /* Repeated numbers are taken either way by protobuf, and written one way. */
            return wire != 2 && often == MANY && f->wire == 2 ? -1 : UNKNOWN;
        }
        return often == PACKED ? -1 : what;
    }
    return UNKNOWN;
}

static int packed_numbers(const uint8_t *data, const found *f, int what)
{
    const size_t size = f->end - f->begin;
    if (!size) return 0;
    uint64_t value;
    if (what == FLOAT32 || what == FLOAT64) return size % (what == FLOAT32 ? 4 : 8) == 0;
    for (size_t at = f->begin; at < f->end;)
        if (!leb128(data, &at, f->end, &value) || (what == INT32 && !fits_int32(value))) return 0;
    return 1;
}

/* A name that a graph or a function (a scope, counted from 1) defines: where it is in the graph's bytes. */
enum { BY_INITIALIZER, BY_INPUT, BY_OUTPUT };
typedef struct { size_t at, size; uint32_t scope, by; } definition;

/* What tells a model-local function from others: domain, name and overload in the graph's bytes. */
typedef struct { size_t at[3], size[3]; } function;

/* A tensor of the graph that may be a weight. */
typedef struct {
    size_t length_at, begin, end;
    size_t name_at, name_size; /* in the walk's names, path included; size 0: it has none */
    uint64_t elements, bytes, new_size;
    int type, emptied, whole, external, possible, weight;
} candidate;

typedef struct {
    int kind;
    size_t end, at, length_at, begin;
    int64_t grown;              /* bytes that what is inside takes more */
    size_t path;                /* length of the path that precedes the names of weights */
    uint32_t scope;             /* of a graph or function whose names are looked at */
    int named;                  /* 0: what is inside are no weights */
    uint32_t once;              /* fields that have occurred, by their place in `messages` */
    int chosen;                 /* one of those that exclude each other has */
    size_t label, label_size;   /* of a node: in the graph's bytes */
    size_t constant;            /* of a node: where its attribute is that is a weight; 0: none */
    size_t output, output_size;
    uint64_t type;              /* of an attribute */
    unsigned index;             /* of an attribute: graphs so far */
} frame;

typedef struct {
    enx_file *f;
    const uint8_t *data;
    list path, names, candidates, definitions, functions;
    uint64_t costs, left; /* of memory, and of names */
    uint32_t scopes;
    frame stack[LEVELS_DEEP];
    int depth;
} walk;

static uint64_t letters(const uint8_t *text, size_t size)
{
    uint64_t count = 0;
    for (size_t i = 0; i < size; i++) count += (text[i] & 0xc0) != 0x80;
    return count;
}

static int append_text(const enx_allocator *a, list *to, const char *text)
{
    return append(a, to, text, strlen(text), 1);
}

static int same(const uint8_t *data, uint64_t size, const char *text)
{
    return size == strlen(text) && memcmp(data, text, (size_t)size) == 0;
}

/* The last of a message's fields of that number that is written as text or message; 0 where there is none. */
static int last_field(const uint8_t *data, size_t begin, size_t end, uint32_t wanted, found *result)
{
    found f;
    int there = 0;
    for (size_t at = begin; at < end && next_field(data, at, end, &f); at = f.end)
        if (f.number == wanted && f.wire == 2) {
            *result = f;
            there = 1;
        }
    return there;
}

static int define(walk *w, uint32_t scope, uint32_t by, const found *name)
{
    const definition d = {name->begin, name->end - name->begin, scope, by};
    if (!d.size) return ENX_OK;
    return append(&w->f->allocator, &w->definitions, &d, 1, sizeof d);
}

/* Notes the names that a graph's initializers and inputs, or a function's inputs define. */
static int define_names(walk *w, frame *n)
{
    const uint8_t *data = w->data;
    found f, inner, name;
    n->scope = ++w->scopes;
    for (size_t at = n->begin; at < n->end && next_field(data, at, n->end, &f); at = f.end) {
        if (f.wire != 2) continue;
        int there = 0;
        name = f;
        if (n->kind == FUNCTION) there = f.number == 4;
        else if (f.number == 5) there = last_field(data, f.begin, f.end, 8, &name);
        else if (f.number == 11) there = last_field(data, f.begin, f.end, 1, &name);
        else if (f.number == 15 && last_field(data, f.begin, f.end, 1, &inner))
            there = last_field(data, inner.begin, inner.end, 8, &name);
        if (there) RETURN_IF(define(w, n->scope, n->kind == FUNCTION || f.number == 11 ? BY_INPUT : BY_INITIALIZER, &name));
    }
    return ENX_OK;
}

/* Notes the names that a node's outputs define. */
static int define_outputs(walk *w, uint32_t scope, const frame *n)
{
    found f;
    for (size_t at = n->begin; at < n->end && next_field(w->data, at, n->end, &f); at = f.end)
        if (f.number == 2 && f.wire == 2) RETURN_IF(define(w, scope, BY_OUTPUT, &f));
    return ENX_OK;
}

static uint64_t count_fields(const uint8_t *data, size_t begin, size_t end, uint32_t one, uint32_t other)
{
    found f;
    uint64_t count = 0;
    for (size_t at = begin; at < end && next_field(data, at, end, &f); at = f.end)
        count += f.wire == 2 && (f.number == one || f.number == other);
    return count;
}

static int pay_for_names(walk *w, size_t path, uint64_t things)
{
    const uint64_t length = letters(w->path.data, path);
    NEED(length <= w->left / (1 + things), ENX_GRAPH);
    w->left -= length * (1 + things);
    return ENX_OK;
}

/* What has to be known of a node before its attributes come: its label, and which attribute of it is a weight. */
static void look_at_node(const uint8_t *data, frame *n)
{
    found f;
    uint64_t outputs = 0;
    size_t name = 0, name_size = 0, op = 0, op_size = 0, domain_size = 0, domain = 0;
    for (size_t at = n->begin; at < n->end && next_field(data, at, n->end, &f); at = f.end) {
        if (f.wire != 2) continue;
        const size_t size = f.end - f.begin;
        if (f.number == 2) {
            outputs++;
            if (!n->label_size && size) n->label = (size_t)f.begin, n->label_size = (size_t)size;
            n->output = f.begin;
            n->output_size = size;
        }
        if (f.number == 3) name = f.begin, name_size = size;
        if (f.number == 4) op = f.begin, op_size = size;
        if (f.number == 7) domain = f.begin, domain_size = size;
    }
    if (!n->label_size) n->label = (size_t)name, n->label_size = (size_t)name_size;
    if (!n->label_size) n->label = (size_t)op, n->label_size = (size_t)op_size;
    if (outputs != 1 || !n->output_size || !same(data + op, op_size, "Constant")) return;
    if (domain_size && !same(data + domain, domain_size, "ai.onnx")) return;
    for (size_t at = n->begin; at < n->end && next_field(data, at, n->end, &f); at = f.end) {
        found called;
        if (f.number != 5 || f.wire != 2 || !last_field(data, f.begin, f.end, 1, &called)) continue;
        if (!same(data + called.begin, called.end - called.begin, "value")) continue;
        n->constant = f.begin;
        return;
    }
}

/* Reads a tensor's fields and keeps it in mind if it may be a weight, or lacks its data. `name`: its name with the
 * path before it is the last of w->names from `name_at` on. */
static int look_at_tensor(walk *w, const frame *t, size_t name_at, int named)
{
    candidate c;
    memset(&c, 0, sizeof c);
    c.length_at = t->length_at;
    c.begin = t->begin;
    c.end = t->end;
    c.name_at = name_at;
    c.name_size = w->names.count - name_at;
    c.elements = 1;
    c.possible = 1;
    uint64_t bound = 1, kept = 0, numbers[16] = {0}; /* in the fields of numbers, by the field; of raw data, bytes */
    int rank = 0, has_raw = 0;
    found f;
    for (size_t at = t->begin; at < t->end && next_field(w->data, at, t->end, &f); at = f.end) {
        const field *d;
        const int what = meaning(TENSOR, &f, &d);
        const size_t size = f.end - f.begin;
        if (what == UNKNOWN || f.number < 3 || f.number == 8 || f.number == 12 || f.number == 16) kept += f.end - f.start;
        if (what == UNKNOWN) continue;
        if (f.number == 1) {
            rank++;
            if (f.value > MOST || bound > MOST / (f.value ? f.value : 1)) c.possible = 0;
            else bound *= f.value ? f.value : 1, c.elements *= f.value;
        }
        if (f.number == 2) c.type = f.value < 1 << 16 ? (int)f.value : 0;
        if (f.number == 13) c.external = 1;
        if (f.number == 14) c.emptied = f.value == 1;
        if (f.number == 9) has_raw = 1;
        if (f.number == 4) numbers[4] = size / 4;
        else if (f.number == 9 || f.number == 10) numbers[f.number] = size / (f.number == 10 ? 8 : 1);
        else if (f.number < 12) for (size_t i = f.begin; i < f.end; i++) numbers[f.number] += w->data[i] < 128;
    }
    if (rank > 64) c.possible = 0;
    if (!type_bytes((uint64_t)c.type)) named = 0;
    if (!named) c.name_size = 0;
    if (c.possible && type_bytes((uint64_t)c.type)) c.bytes = bytes_of(c.elements, c.type);
    /* where the data are by type: raw, or in a field of numbers */
    const int type = c.type;
    const uint64_t each = type == 14 || type == 15 ? 2 : 1; /* complex numbers are two */
    if (has_raw) c.whole = numbers[9] == c.bytes;
    else c.whole = numbers[type == 1 || type == 14 ? 4 : type == 11 || type == 15 ? 10 : type == 7 ? 7 : type == 12 || type == 13 ? 11 : 5]
                   == (type_packed((uint64_t)type) > 1 ? c.bytes : c.elements * each);
    if (c.emptied) {
        NEED(c.possible && type_bytes((uint64_t)c.type), ENX_GRAPH);
        c.new_size = kept + 1 + leb128_size(c.bytes) + c.bytes;
    }
    if (!c.name_size && !c.emptied) {
        w->names.count = name_at;
        return ENX_OK;
    }
    return append(&w->f->allocator, &w->candidates, &c, 1, sizeof c);
}

static int add_edit(enx_file *f, size_t length_at, size_t begin, size_t old_size, uint64_t new_size, size_t of)
{
    const edit e = {length_at, begin, old_size, new_size, of};
    return append(&f->allocator, &f->edits, &e, 1, sizeof e);
}

/* Goes into a message inside the one on top of the stack. */
static int enter(walk *w, int kind, const found *f)
{
    static const uint16_t costs[KINDS] = {[NODE] = 200, [TENSOR] = 800, [ATTRIBUTE] = 180, [GRAPH] = 800, [FUNCTION] = 800};
    const enx_allocator *a = &w->f->allocator;
    NEED(w->depth < LEVELS_DEEP, ENX_GRAPH);
    frame *up = &w->stack[w->depth - 1], *n = &w->stack[w->depth++];
    memset(n, 0, sizeof *n);
    n->kind = kind;
    n->begin = n->at = f->begin;
    n->end = f->end;
    n->length_at = f->begin - leb128_size(f->value);
    n->path = w->path.count;
    w->costs += costs[kind] ? costs[kind] : 64;
    switch (kind) {
    case GRAPH:
        if (up->kind == MODEL) {
            n->named = 1;
        } else if (up->kind == ATTRIBUTE && up->named) {
            /* node.attribute/ or node.attribute.index/ ; the node is below the attribute on the stack */
            const frame *node = &w->stack[w->depth - 3];
            found called;
            if (f->number == 11) {
                n->named = up->type == 10;
            } else {
                n->named = f->number == 6 && up->type == 5;
            }
            char digits[16], *digit = digits + sizeof digits;
            unsigned index = up->index;
            if (f->number == 11) up->index++;
            if (!n->named) break;
            RETURN_IF(append(a, &w->path, w->data + node->label, node->label_size, 1));
            RETURN_IF(append_text(a, &w->path, "."));
            if (last_field(w->data, up->begin, up->end, 1, &called))
                RETURN_IF(append(a, &w->path, w->data + called.begin, (size_t)(called.end - called.begin), 1));
            if (f->number == 11) {
                *--digit = 0;
                do *--digit = (char)('0' + index % 10);
                while (index /= 10);
                RETURN_IF(append_text(a, &w->path, "."));
                RETURN_IF(append_text(a, &w->path, digit));
            }
            RETURN_IF(append_text(a, &w->path, "/"));
            n->path = w->path.count;
            RETURN_IF(pay_for_names(w, n->path, count_fields(w->data, n->begin, n->end, 1, 5)));
        }
        if (n->named) RETURN_IF(define_names(w, n));
        break;
    case FUNCTION: {
        static const uint8_t parts[3] = {10, 1, 13};
        function key;
        memset(&key, 0, sizeof key);
        for (int i = 0; i < 3; i++) {
            found part;
            const int there = last_field(w->data, n->begin, n->end, parts[i], &part);
            if (there) key.at[i] = part.begin, key.size[i] = part.end - part.begin;
            if (i == 2 && (!there || part.begin == part.end)) break;
            if (i) RETURN_IF(append_text(a, &w->path, ":"));
            if (there) RETURN_IF(append(a, &w->path, w->data + part.begin, (size_t)(part.end - part.begin), 1));
        }
        RETURN_IF(append_text(a, &w->path, "/"));
        n->path = w->path.count;
        n->named = 1;
        RETURN_IF(pay_for_names(w, n->path, count_fields(w->data, n->begin, n->end, 7, 7)));
        RETURN_IF(append(a, &w->functions, &key, 1, sizeof key));
        RETURN_IF(define_names(w, n));
        break;
    }
    case NODE:
        n->named = up->named && (up->kind == GRAPH || up->kind == FUNCTION);
        if (!n->named) break;
        look_at_node(w->data, n);
        RETURN_IF(define_outputs(w, up->scope, n));
        break;
    case ATTRIBUTE:
        n->named = up->named && up->kind == NODE;
        if (n->named) {
            found type;
            for (size_t at = n->begin; at < n->end && next_field(w->data, at, n->end, &type); at = type.end)
                if (type.number == 20 && type.wire == 0) n->type = type.value;
        }
        break;
    case TENSOR: {
        const size_t name_at = w->names.count;
        int named = 0;
        found called;
        if (up->kind == GRAPH && up->named) {
            if (last_field(w->data, n->begin, n->end, 8, &called) && called.end > called.begin) {
                named = 1;
                RETURN_IF(append(a, &w->names, w->path.data, w->path.count, 1));
                RETURN_IF(append(a, &w->names, w->data + called.begin, (size_t)(called.end - called.begin), 1));
            }
        } else if (up->kind == ATTRIBUTE && up->named && f->number == 5) {
            const frame *node = &w->stack[w->depth - 3];
            if (node->constant && node->constant == up->begin) {
                named = 1;
                RETURN_IF(append(a, &w->names, w->path.data, w->path.count, 1));
                RETURN_IF(append(a, &w->names, w->data + node->output, (size_t)node->output_size, 1));
            }
        }
        RETURN_IF(look_at_tensor(w, n, name_at, named));
        if (w->candidates.count) {
            const candidate *c = (const candidate *)(const void *)w->candidates.data + w->candidates.count - 1;
            if (c->begin == n->begin && c->emptied) n->grown = (int64_t)(c->new_size - (n->end - n->begin));
        }
        break;
    }
    default:
        break;
    }
    return ENX_OK;
}

/* Leaves the message on top of the stack: where it grew, its length changes, and what is around it grows too. */
static int leave(walk *w)
{
    frame *n = &w->stack[--w->depth];
    if (w->depth) {
        frame *up = &w->stack[w->depth - 1];
        const size_t old_size = n->end - n->begin;
        const uint64_t new_size = old_size + (uint64_t)n->grown;
        if (n->grown || n->kind == TENSOR) {
            up->grown += n->grown + (int64_t)leb128_size(new_size) - (int64_t)leb128_size(old_size);
            if (n->kind != TENSOR) RETURN_IF(add_edit(w->f, n->length_at, n->begin, old_size, new_size, SIZE_MAX));
        }
        w->path.count = w->depth > 1 || up->kind != MODEL ? up->path : 0;
    } else {
        w->f->onnx_size = w->f->graph_size + (uint64_t)n->grown;
    }
    return ENX_OK;
}

static int step_in(walk *w)
{
    frame *n = &w->stack[w->depth - 1];
    found f;
    const field *d = NULL;
    NEED(next_field(w->data, n->at, n->end, &f), ENX_GRAPH);
    n->at = f.end;
    const int what = meaning(n->kind, &f, &d);
    NEED(what >= 0, ENX_GRAPH);
    if (what == UNKNOWN) return ENX_OK;
    const int often = d->what & 192;
    if (often != MANY) {
        const size_t place_ = (size_t)(d - messages[n->kind]);
        const uint32_t mark = (uint32_t)1 << place_;
        NEED(!(n->once & mark), ENX_GRAPH);
        n->once |= mark;
        if (often == CHOICE) {
            NEED(!n->chosen, ENX_GRAPH);
            n->chosen = 1;
        }
    }
    if (often == PACKED) return packed_numbers(w->data, &f, what) ? ENX_OK : ENX_GRAPH;
    if (what == INT32) NEED(fits_int32(f.value), ENX_GRAPH);
    if (what == TEXT) NEED(is_text(w->data + f.begin, (size_t)(f.end - f.begin)), ENX_GRAPH);
    return what < KINDS ? enter(w, what, &f) : ENX_OK;
}

static int less_candidate(const void *context, size_t a, size_t b)
{
    const walk *w = context;
    const candidate *c = (const candidate *)(const void *)w->candidates.data;
    const int order = compare_names(w->names.data + c[a].name_at, c[a].name_size, w->names.data + c[b].name_at, c[b].name_size);
    return order ? order < 0 : a < b;
}

/* The tensor of the table of that name, or NULL. */
static tensor *named_tensor(enx_file *f, const uint8_t *name, size_t size)
{
    size_t low = 0, high = f->tensors.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        tensor *t = TENSORS(f) + f->by_name[middle];
        const int order = compare_names(t->name, t->name_size, name, size);
        if (!order) return t;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

static int same_shape(const walk *w, const candidate *c, const tensor *t)
{
    found f;
    int rank = 0;
    for (size_t at = c->begin; at < c->end && next_field(w->data, at, c->end, &f); at = f.end) {
        if (f.number != 1 || f.wire != 0) continue;
        if (rank == t->rank || t->shape[rank++] != f.value) return 0;
    }
    return rank == t->rank && c->type == t->type;
}

static int less_edit(const void *context, size_t a, size_t b)
{
    const edit *e = context;
    return e[a].length_at < e[b].length_at;
}

static int compare_definitions(const walk *w, const definition *a, const definition *b)
{
    if (a->scope != b->scope) return a->scope < b->scope ? -1 : 1;
    return compare_names(w->data + a->at, (size_t)a->size, w->data + b->at, (size_t)b->size);
}

static int less_definition(const void *context, size_t a, size_t b)
{
    const walk *w = context;
    const definition *d = (const definition *)(const void *)w->definitions.data;
    const int order = compare_definitions(w, d + a, d + b);
    return order ? order < 0 : d[a].by < d[b].by;
}

static int compare_functions(const walk *w, size_t a, size_t b)
{
    const function *f = (const function *)(const void *)w->functions.data;
    int order = 0;
    for (int i = 0; i < 3 && !order; i++)
        order = compare_names(w->data + f[a].at[i], (size_t)f[a].size[i], w->data + f[b].at[i], (size_t)f[b].size[i]);
    return order;
}

static int less_function(const void *context, size_t a, size_t b) { return compare_functions(context, a, b) < 0; }

/* No name may be defined twice, but an input may have an initializer, which is its default. */
static int check_definitions(walk *w)
{
    const enx_allocator *a = &w->f->allocator;
    const definition *d = (const definition *)(const void *)w->definitions.data;
    int code = ENX_OK;
    size_t *order = sorted(a, w->definitions.count, less_definition, w);
    NEED(order, ENX_NO_MEMORY);
    for (size_t i = 1; i < w->definitions.count; i++) {
        const definition *one = d + order[i - 1], *other = d + order[i];
        if (one->by == BY_INITIALIZER && other->by == BY_INPUT) continue;
        if (!compare_definitions(w, one, other)) code = ENX_GRAPH;
    }
    give_back(a, order);
    NEED(order = sorted(a, w->functions.count, less_function, w), ENX_NO_MEMORY);
    for (size_t i = 1; i < w->functions.count; i++)
        if (!compare_functions(w, order[i - 1], order[i])) code = ENX_GRAPH;
    give_back(a, order);
    return code;
}

/* Decides which tensors are weights, and finds those of the table among them. */
static int match_weights(walk *w)
{
    enx_file *f = w->f;
    candidate *c = (candidate *)(void *)w->candidates.data;
    const size_t count = w->candidates.count;
    size_t *order = sorted(&f->allocator, count, less_candidate, w), filled = 0;
    NEED(order, ENX_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        candidate *one = c + order[i], *before = i ? c + order[i - 1] : NULL;
        one->weight = one->name_size && !(before && before->name_size == one->name_size &&
            memcmp(w->names.data + before->name_at, w->names.data + one->name_at, one->name_size) == 0);
    }
    give_back(&f->allocator, order);
    for (size_t i = 0; i < count; i++) {
        if (!c[i].emptied) {
            NEED(!c[i].weight || (c[i].possible && c[i].whole), ENX_GRAPH);
            continue;
        }
        NEED(c[i].weight && !c[i].external, ENX_GRAPH);
        tensor *t = named_tensor(f, w->names.data + c[i].name_at, c[i].name_size);
        NEED(t && !t->place && same_shape(w, c + i, t), ENX_GRAPH);
        t->place = 1;
        filled++;
        RETURN_IF(add_edit(f, c[i].length_at, c[i].begin, c[i].end - c[i].begin, c[i].new_size, (size_t)(t - TENSORS(f))));
    }
    NEED(filled == f->tensors.count, ENX_GRAPH);
    return ENX_OK;
}

/* Fields of an emptied tensor in front of its data (part 0) or behind it (part 1), to `out` if that is not NULL; their bytes. */
static size_t kept_fields(const uint8_t *data, const edit *e, int part, uint8_t *out)
{
    found f;
    size_t size = 0;
    const size_t end = e->begin + e->old_size;
    for (size_t at = e->begin; at < end && next_field(data, at, end, &f); at = f.end) {
        const field *d;
        const int unknown = meaning(TENSOR, &f, &d) == UNKNOWN;
        const int front = f.number == 1 || f.number == 2 || f.number == 8, behind = f.number == 12 || f.number == 16;
        if (part ? !unknown && !behind : unknown || !front) continue;
        if (out) memcpy(out + size, data + f.start, f.end - f.start);
        size += f.end - f.start;
    }
    return size;
}

/* Writes the model without its weights' data into `out`, or only counts where `out` is NULL; sets their places. */
static void write_graph(enx_file *f, uint8_t *out)
{
    const uint8_t *data = f->plain + f->table_size;
    size_t from = 0;
    uint64_t at = 0;
    for (size_t i = 0; i < f->edits.count; i++) {
        const edit *e = (const edit *)(const void *)f->edits.data + f->by_place[i];
        if (out) memcpy(out + at, data + from, e->length_at - from);
        at += e->length_at - from;
        if (out) write_leb128(out + at, e->new_size);
        at += leb128_size(e->new_size);
        from = e->begin;
        if (e->tensor == SIZE_MAX) continue;
        tensor *t = TENSORS(f) + e->tensor;
        t->place = at + e->new_size - kept_fields(data, e, 1, NULL) - t->bytes;
        if (out) {
            uint8_t *p = out + at + kept_fields(data, e, 0, out + at);
            *p++ = 9 << 3 | 2;
            write_leb128(p, t->bytes);
            kept_fields(data, e, 1, out + t->place + t->bytes);
        }
        at += e->new_size;
        from += e->old_size;
    }
    if (out) memcpy(out + at, data + from, f->graph_size - from);
}

static int read_graph(enx_file *f)
{
    const uint8_t *data = f->plain + f->table_size;
    const size_t size = f->graph_size;
    walk *w = take(&f->allocator, 1, sizeof *w);
    NEED(w, ENX_NO_MEMORY);
    memset(w, 0, sizeof *w);
    w->f = f;
    w->data = data;
    w->left = 8 * (uint64_t)size + ((uint64_t)1 << 24);
    w->stack[0].kind = MODEL;
    w->stack[0].end = size;
    w->depth = 1;
    int code = ENX_OK;
    while (code == ENX_OK && w->depth) {
        const frame *n = &w->stack[w->depth - 1];
        code = n->at < n->end ? step_in(w) : leave(w);
        if (size > SMALL_GRAPH && w->costs > 24 * (uint64_t)size + ((uint64_t)1 << 26)) code = ENX_GRAPH;
    }
    found graph, part;
    if (code == ENX_OK) {
        int versions = 0, inside = 0;
        for (size_t at = 0; at < size && next_field(data, at, size, &part); at = part.end)
            versions |= (part.number == 1 && part.wire == 0 && part.value) || (part.number == 8 && part.wire == 2);
        if (last_field(data, 0, size, 7, &graph))
            inside = count_fields(data, graph.begin, graph.end, 1, 12) > 0;
        if (!versions || !inside) code = ENX_GRAPH;
    }
    if (code == ENX_OK) code = check_definitions(w);
    if (code == ENX_OK) code = match_weights(w);
    give_back(&f->allocator, w->definitions.data);
    give_back(&f->allocator, w->functions.data);
    give_back(&f->allocator, w->path.data);
    give_back(&f->allocator, w->names.data);
    give_back(&f->allocator, w->candidates.data);
    give_back(&f->allocator, w);
    RETURN_IF(code);
    NEED(f->by_place = sorted(&f->allocator, f->edits.count, less_edit, f->edits.data), ENX_NO_MEMORY);
    write_graph(f, NULL);
    return ENX_OK;
}

/* ------------------------------------------------------------------------------------------ the functions of enx.h */

const char *enx_message(int code)
{
    switch (code) {
    case ENX_OK: return "the file is sound";
    case ENX_NOT_ENX: return "not an .enx file: it does not begin with the format's signature";
    case ENX_CUT_OFF: return "the file was cut off: it is shorter than it says";
    case ENX_TOO_LONG: return "the file was added to: it is longer than it says";
    case ENX_VERSION: return "the file's version is not known here; a newer decoder may read it";
    case ENX_HEAD: return "the head of the file is damaged";
    case ENX_TABLE: return "the table of tensors in the file is damaged";
    case ENX_GRAPH: return "the model graph in the file is damaged, or does not fit the table";
    case ENX_PAYLOAD: return "the values of a tensor are damaged";
    case ENX_NO_MEMORY: return "there is not enough memory";
    case ENX_ARGUMENT: return "there is no such row or tensor, or too little room for the result";
    default: return "an unknown code";
    }
}

enum { PREFIX = 36, VERSIONS = 4 };
static const uint8_t signature[8] = {0x89, 'E', 'N', 'X', '\r', '\n', 0x1a, '\n'};

uint64_t enx_head_size(const void *beginning, size_t have)
{
    return have < PREFIX ? PREFIX : PREFIX + (uint64_t)read32((const uint8_t *)beginning + 20);
}

static int read_head(enx_file *f, const uint8_t *data, size_t have)
{
    NEED(memcmp(data, signature, have < 8 ? have : 8) == 0 && have, ENX_NOT_ENX);
    NEED(have >= PREFIX, ENX_CUT_OFF);
    const unsigned version = read16(data + 8), method = read16(data + 10);
    const uint32_t stored = read32(data + 20), table = read32(data + 24), graph = read32(data + 28);
    NEED(version >= 1 && version <= VERSIONS, ENX_VERSION);
    f->file_size = read64(data + 12);
    const uint64_t plain = (uint64_t)table + graph;
    NEED(PREFIX + (uint64_t)stored <= f->file_size, ENX_HEAD);
    NEED(have >= PREFIX + (uint64_t)stored, ENX_CUT_OFF);
    NEED(plain <= 64 * (uint64_t)stored + ((uint64_t)1 << 18) && plain < (uint64_t)1 << 31, ENX_HEAD);
    NEED(crc32_of(crc32_of(0, data, 32), data + PREFIX, stored) == read32(data + 32), ENX_HEAD);
    NEED(method <= 1, ENX_VERSION);
    NEED(method == 1 || plain == stored, ENX_HEAD);
    f->plain = take(&f->allocator, plain + 1, 1);
    NEED(f->plain, ENX_NO_MEMORY);
    f->table_size = table;
    f->graph_size = graph;
    if (method == 0) memcpy(f->plain, data + PREFIX, stored);
    else RETURN_IF(unfold(&f->allocator, data + PREFIX, stored, f->plain, (size_t)plain));
    f->payloads = PREFIX + (uint64_t)stored;
    uint8_t *behind = f->plain + table, kept = plain > table ? *behind : 0;
    *behind = 0;
    RETURN_IF(read_json(f, 0));
    *behind = kept;
    NEED(f->payloads == f->file_size, ENX_TABLE);
    return read_graph(f);
}

int enx_open(enx_file **file, const void *beginning, size_t have, const enx_allocator *allocator)
{
    const enx_allocator a = allocator_or_default(allocator);
    *file = NULL;
    enx_file *f = take(&a, 1, sizeof *f);
    NEED(f, ENX_NO_MEMORY);
    memset(f, 0, sizeof *f);
    f->allocator = a;
    const int code = read_head(f, have ? beginning : signature, have);
    if (code == ENX_OK) *file = f;
    else enx_close(f);
    return code;
}

int enx_open_row(enx_file **file, const char *json, size_t size, const enx_allocator *allocator)
{
    const enx_allocator a = allocator_or_default(allocator);
    *file = NULL;
    enx_file *f = take(&a, 1, sizeof *f);
    NEED(f, ENX_NO_MEMORY);
    memset(f, 0, sizeof *f);
    f->allocator = a;
    f->file_size = MOST;
    f->table_size = size;
    f->plain = take(&a, (uint64_t)size + 1, 1);
    int code = f->plain ? ENX_OK : ENX_NO_MEMORY;
    if (code == ENX_OK) {
        if (size) memcpy(f->plain, json, size);
        f->plain[size] = 0;
        code = read_json(f, 1);
    }
    if (code == ENX_OK) *file = f;
    else enx_close(f);
    return code;
}

void enx_close(enx_file *f)
{
    if (!f) return;
    const enx_allocator a = f->allocator;
    give_back(&a, f->plain);
    give_back(&a, f->rows.data);
    give_back(&a, f->tensors.data);
    give_back(&a, f->names.data);
    give_back(&a, f->shapes.data);
    give_back(&a, f->edits.data);
    give_back(&a, f->by_name);
    give_back(&a, f->by_place);
    give_back(&a, f);
}

uint64_t enx_file_size(const enx_file *f) { return f->file_size; }
size_t enx_rows(const enx_file *f) { return f->rows.count; }
size_t enx_tensors(const enx_file *f) { return f->tensors.count; }

static const row *row_of(const enx_file *f, size_t r)
{
    return r < f->rows.count ? (const row *)(const void *)f->rows.data + r : NULL;
}

uint64_t enx_row_offset(const enx_file *f, size_t r) { return row_of(f, r) ? row_of(f, r)->offset : 0; }
uint64_t enx_row_size(const enx_file *f, size_t r) { return row_of(f, r) ? row_of(f, r)->bytes : 0; }
size_t enx_row_first(const enx_file *f, size_t r) { return row_of(f, r) ? row_of(f, r)->first : 0; }
size_t enx_row_tensors(const enx_file *f, size_t r) { return row_of(f, r) ? row_of(f, r)->count : 0; }

int enx_tensor(const enx_file *f, size_t number_, enx_tensor_info *info)
{
    NEED(number_ < f->tensors.count, ENX_ARGUMENT);
    const tensor *t = (const tensor *)(const void *)f->tensors.data + number_;
    info->name = (const char *)t->name;
    info->name_size = t->name_size;
    info->type = t->type;
    info->rank = (size_t)t->rank;
    info->shape = t->shape;
    info->elements = t->elements;
    info->bytes = t->bytes;
    info->row = t->row;
    info->exact = row_of(f, t->row)->coder == PLANES;
    return ENX_OK;
}

static int check_payload(const row *r, const uint8_t *data)
{
    NEED(r->bytes <= SIZE_MAX, ENX_NO_MEMORY); /* where size_t has 32 bits */
    NEED(crc32_of(0, data, (size_t)r->bytes) == r->crc, ENX_PAYLOAD);
    for (uint64_t i = r->bytes - r->padding; i < r->bytes; i++) NEED(!data[i], ENX_PAYLOAD);
    return ENX_OK;
}

static int row_levels(const enx_file *f, const row *r, const uint8_t *data, int32_t *levels)
{
    const size_t size = (size_t)(r->bytes - r->padding - r->steps_bytes);
    data += r->steps_bytes;
    if (!r->items) return size ? ENX_PAYLOAD : ENX_OK;
    if (r->coder == ORDER0) return order0_levels(&f->allocator, data, size, levels, r->items);
    return contexts_levels(f, r, data, size, levels);
}

int enx_levels(const enx_file *f, size_t number_, const void *payload, int32_t *levels)
{
    const row *r = row_of(f, number_);
    NEED(r && r->coder != PLANES, ENX_ARGUMENT);
    RETURN_IF(check_payload(r, payload));
    return row_levels(f, r, payload, levels);
}

static int exact_values(const enx_file *f, const row *r, const uint8_t *data, void *const *out)
{
    const tensor *t = (const tensor *)(const void *)f->tensors.data + r->first;
    const unsigned width = type_bytes((uint64_t)t->type);
    const size_t size = (size_t)(r->bytes - r->padding);
    uint8_t *values = r->count == 1 ? out[0] : take(&f->allocator, r->items, width), *at = values;
    NEED(values || !r->items, ENX_NO_MEMORY);
    int code = planes(&f->allocator, data, size, values, r->items, width);
    for (size_t i = 0; i < r->count && code == ENX_OK; i++, t++) {
        const unsigned per = type_packed((uint64_t)t->type);
        const unsigned spare = per > 1 ? (unsigned)((per - t->elements % per) % per) : 0;
        if (t->type == 9)
            for (uint64_t j = 0; j < t->bytes; j++)
                if (at[j] > 1) code = ENX_PAYLOAD;
        if (spare && at[t->bytes - 1] >> (8 / per * (per - spare))) code = ENX_PAYLOAD;
        if (r->count > 1 && t->bytes) memcpy(out[i], at, (size_t)t->bytes);
        at += t->bytes;
    }
    if (r->count > 1) give_back(&f->allocator, values);
    return code;
}

/* The steps in front of the levels: of a dead zone along its axis; of a grid along axis 0, the step for all in them,
 * and then along axis 1; of several tensors, one for each. NULL where there are none. */
static int read_steps(const enx_file *f, const row *r, const uint8_t *data, float **steps)
{
    const tensor *t = (const tensor *)(const void *)f->tensors.data + r->first;
    const uint64_t rows = !(r->axes & 1) ? 0 : r->count > 1 ? r->count : t->shape[0];
    uint64_t count = 0;
    if (r->kind == DEAD_ZONE) count = r->axis >= 0 ? t->shape[r->axis] : 0;
    else count = rows + (r->axes & 2 ? t->shape[1] : 0);
    *steps = NULL;
    if (!r->steps_bytes) return ENX_OK;
    uint8_t *bytes = take(&f->allocator, count, 4);
    NEED(bytes, ENX_NO_MEMORY);
    *steps = (float *)(void *)bytes;
    if (r->kind == DEAD_ZONE) RETURN_IF(planes(&f->allocator, data, (size_t)r->steps_bytes, bytes, count, 4));
    else RETURN_IF(order0_levels(&f->allocator, data, (size_t)r->steps_bytes, (int32_t *)(void *)bytes, count));
    for (uint64_t i = 0; i < count; i++) {
        float step;
        if (r->kind == DEAD_ZONE) {
            step = bits_float(read32(bytes + 4 * i));
        } else {
            int32_t exponent;
            memcpy(&exponent, bytes + 4 * i, 4);
            NEED(exponent >= -96 && exponent <= 96, ENX_PAYLOAD);
            step = quarter_power(exponent);
            if (i < rows) step = (float)r->step * step;
        }
        NEED(step > 0 && is_finite((double)step), ENX_PAYLOAD);
        memcpy(bytes + 4 * i, &step, 4);
    }
    return ENX_OK;
}

int enx_decode(const enx_file *f, size_t number_, const void *payload, void *const *out)
{
    const row *r = row_of(f, number_);
    NEED(r, ENX_ARGUMENT);
    const uint8_t *data = payload;
    RETURN_IF(check_payload(r, data));
    if (r->coder == PLANES) return exact_values(f, r, data, out);
    const tensor *t = (const tensor *)(const void *)f->tensors.data + r->first;
    /* Levels take four bytes, as float32 does: they are decoded where the values will be, if that is aligned. */
    const int in_place = r->count == 1 && t->type == 1 && (uintptr_t)out[0] % sizeof(int32_t) == 0;
    int32_t *levels = in_place ? out[0] : take(&f->allocator, r->items, sizeof *levels);
    float *steps = NULL;
    int code = levels || !r->items ? read_steps(f, r, data, &steps) : ENX_NO_MEMORY;
    if (code == ENX_OK) code = row_levels(f, r, data, levels);
    int32_t *at = levels;
    for (size_t i = 0; i < r->count && code == ENX_OK; i++, t++) {
        code = reconstruct(r, t, at, steps && r->count > 1 ? steps + i : steps, out[i]);
        at += t->elements;
    }
    give_back(&f->allocator, steps);
    if (!in_place) give_back(&f->allocator, levels);
    return code;
}

uint64_t enx_onnx_size(const enx_file *f) { return f->onnx_size; }

int enx_onnx_begin(const enx_file *f, void *model)
{
    NEED(f->graph_size, ENX_ARGUMENT); /* a row alone has no model */
    write_graph((enx_file *)f, model); /* sets the places that are set already */
    return ENX_OK;
}

int enx_onnx_row(const enx_file *f, size_t number_, const void *payload, void *model)
{
    const row *r = row_of(f, number_);
    NEED(r && f->graph_size, ENX_ARGUMENT);
    NEED(f->onnx_size <= SIZE_MAX, ENX_NO_MEMORY);
    const tensor *t = (const tensor *)(const void *)f->tensors.data + r->first;
    void **out = take(&f->allocator, r->count, sizeof *out);
    NEED(out, ENX_NO_MEMORY);
    for (size_t i = 0; i < r->count; i++) out[i] = (uint8_t *)model + t[i].place;
    const int code = enx_decode(f, number_, payload, out);
    give_back(&f->allocator, out);
    return code;
}

const char *enx_table(const enx_file *f, size_t *size)
{
    *size = f->table_size;
    return (const char *)f->plain;
}

int enx_to_onnx(const void *file, size_t size, const enx_allocator *allocator, enx_bytes *model)
{
    const uint8_t *data = file;
    memset(model, 0, sizeof *model);
    model->allocator = allocator_or_default(allocator);
    enx_file *f;
    if (size >= PREFIX && memcmp(data, signature, 8) == 0) {
        const uint64_t total = read64(data + 12);
        NEED(read16(data + 8) < 1 || read16(data + 8) > VERSIONS || total <= size, ENX_CUT_OFF);
        NEED(read16(data + 8) < 1 || read16(data + 8) > VERSIONS || total >= size, ENX_TOO_LONG);
    }
    RETURN_IF(enx_open(&f, file, size, allocator));
    int code = f->onnx_size <= SIZE_MAX ? ENX_OK : ENX_NO_MEMORY;
    model->size = (size_t)f->onnx_size;
    model->data = code == ENX_OK ? take(&model->allocator, model->size, 1) : NULL;
    if (!model->data) code = ENX_NO_MEMORY;
    if (code == ENX_OK) code = enx_onnx_begin(f, model->data);
    for (size_t r = 0; r < f->rows.count && code == ENX_OK; r++)
        code = enx_onnx_row(f, r, data + enx_row_offset(f, r), model->data);
    enx_close(f);
    if (code != ENX_OK) enx_free(model);
    return code;
}

void enx_free(enx_bytes *bytes)
{
    give_back(&bytes->allocator, bytes->data);
    bytes->data = NULL;
    bytes->size = 0;
}
