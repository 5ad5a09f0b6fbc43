/* Hashes of word n-grams, and the Bloom filter that holds them: the compiled form of
 * `eval.overlap_ngrams` and `eval.bloom`, which say what is computed and are tested to give the same
 * bytes.
 *
 * Text is hostile: nothing is read beyond it or written beyond what the caller gave.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define CODE_POINTS 0x110000
#define MURMUR_1 0xFF51AFD7ED558CCDull
#define MURMUR_2 0xC4CEB9FE1A85EC53ull
#define GOLDEN 0x9E3779B97F4A7C15ull

#define BLOCK_BYTES 4096
#define PLACE_BITS 15 /* of the 32,768 bits of a block */
#define LANE_BITS 16  /* a mixed value gives four places */
#define PLACES 4

typedef const unsigned char *Bytes;

static inline uint64_t mix(uint64_t value) {
    value = (value ^ value >> 33) * MURMUR_1;
    value = (value ^ value >> 33) * MURMUR_2;
    return value ^ value >> 33;
}

/* ---- n-grams --------------------------------------------------------------------------------- */

/* The bytes of the character at `at`; `lettered` says whether it belongs to words. */
static inline size_t next_character(Bytes at, Bytes end, Bytes is_word, int *lettered) {
    unsigned first = *at;
    size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    *lettered = 0;
    if (size == 1) {
        *lettered = is_word[first];
        return 1;
    }
    if (first < 0xC0 || (size_t)(end - at) < size) return 1; /* no UTF-8 */
    uint32_t point = first & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) point = point << 6 | (at[i] & 0x3F);
    if (point < CODE_POINTS) *lettered = is_word[point];
    return size;
}

static inline uint64_t read_chunk(Bytes at, size_t size) {
    uint64_t chunk = 0;
    for (size_t i = 0; i < size; i++) chunk |= (uint64_t)at[i] << (8 * i);
    return chunk;
}

static inline uint64_t hash_word(Bytes at, Bytes stop) {
    uint64_t hash = (uint64_t)(stop - at) * GOLDEN;
    for (; stop - at > 8; at += 8) hash = mix(hash ^ read_chunk(at, 8));
    return mix(hash ^ read_chunk(at, (size_t)(stop - at)));
}

/* Every second byte can begin a word at most, so `words` has room for half the bytes and one. */
static size_t hash_words(Bytes at, Bytes end, Bytes is_word, uint64_t *words) {
    size_t count = 0;
    while (at < end) {
        Bytes start = at;
        int lettered;
        size_t size = next_character(at, end, is_word, &lettered);
        at += size;
        if (!lettered) continue;
        while (at < end) {
            size = next_character(at, end, is_word, &lettered);
            if (!lettered) break;
            at += size;
        }
        words[count++] = hash_word(start, at);
        if (at < end) at += size; /* what ended the word */
    }
    return count;
}

/* In place: an n-gram's hash takes the place of its first word's, which no later one needs. */
static size_t fold_ngrams(uint64_t *words, size_t count, const uint64_t *multipliers, size_t n) {
    if (count < n) return 0;
    for (size_t i = 0; i + n <= count; i++) {
        uint64_t total = 0;
        for (size_t j = 0; j < n; j++) total += words[i + j] * multipliers[j];
        words[i] = mix(total);
    }
    return count - n + 1;
}

/* ---- the filter ------------------------------------------------------------------------------ */

static inline size_t block_of(uint64_t hash, uint64_t blocks) {
    return (size_t)((hash >> 32) * blocks >> 32);
}

/* The four places in a block that the `round`-th mixing of a hash gives. */
static inline void places_of(uint64_t hash, unsigned round, uint32_t *places) {
    uint64_t mixed = mix(hash + (round + 1) * GOLDEN);
    for (unsigned lane = 0; lane < PLACES; lane++)
        places[lane] = (uint32_t)(mixed >> (LANE_BITS * lane)) & ((1u << PLACE_BITS) - 1);
}

static void add_hashes(unsigned char *filter, uint64_t blocks, const uint64_t *hashes, size_t count,
                       unsigned probes) {
    for (size_t i = 0; i < count; i++) {
        unsigned char *block = filter + block_of(hashes[i], blocks) * BLOCK_BYTES;
        uint32_t places[PLACES];
        for (unsigned probe = 0; probe < probes; probe++) {
            if (probe % PLACES == 0) places_of(hashes[i], probe / PLACES, places);
            uint32_t place = places[probe % PLACES];
            block[place >> 3] |= (unsigned char)(1u << (place & 7));
        }
    }
}

static void ask_hashes(Bytes filter, uint64_t blocks, const uint64_t *hashes, size_t count,
                       unsigned probes, unsigned char *found) {
    for (size_t i = 0; i < count; i++) {
        Bytes block = filter + block_of(hashes[i], blocks) * BLOCK_BYTES;
        uint32_t places[PLACES];
        unsigned set = 1;
        for (unsigned probe = 0; probe < probes && set; probe++) {
            if (probe % PLACES == 0) places_of(hashes[i], probe / PLACES, places);
            uint32_t place = places[probe % PLACES];
            set = block[place >> 3] >> (place & 7) & 1u;
        }
        found[i] = (unsigned char)set;
    }
}

/* ---- the module ------------------------------------------------------------------------------ */

static int aligned(const Py_buffer *view) {
    return (uintptr_t)view->buf % 8 == 0 && (size_t)view->len % 8 == 0;
}

static int fits(int condition, const char *message) {
    if (!condition) PyErr_SetString(PyExc_ValueError, message);
    return condition;
}

static PyObject *hash_ngrams(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text, is_word, multipliers, out;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &text, &is_word, &multipliers, &out)) return NULL;
    PyObject *result = NULL;
    if (fits(is_word.len == CODE_POINTS && multipliers.len > 0 && aligned(&multipliers) &&
                 aligned(&out) && out.len / 8 >= text.len / 2 + 1,
             "arrays do not fit the text")) {
        size_t count;
        Py_BEGIN_ALLOW_THREADS
        Bytes start = text.buf;
        count = hash_words(start, start + text.len, is_word.buf, out.buf);
        count = fold_ngrams(out.buf, count, multipliers.buf, (size_t)multipliers.len / 8);
        Py_END_ALLOW_THREADS
        result = PyLong_FromSize_t(count);
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&is_word);
    PyBuffer_Release(&multipliers);
    PyBuffer_Release(&out);
    return result;
}

static int is_filter(const Py_buffer *filter, const Py_buffer *hashes) {
    return fits(filter->len > 0 && filter->len % BLOCK_BYTES == 0 &&
                    (uint64_t)filter->len / BLOCK_BYTES <= UINT32_MAX && aligned(hashes),
                "a filter is whole blocks of 4,096 bytes, hashes are 64 bits each");
}

static PyObject *add(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer filter, hashes;
    unsigned probes;
    if (!PyArg_ParseTuple(args, "w*y*I", &filter, &hashes, &probes)) return NULL;
    PyObject *result = NULL;
    if (is_filter(&filter, &hashes)) {
        Py_BEGIN_ALLOW_THREADS
        add_hashes(filter.buf, (uint64_t)filter.len / BLOCK_BYTES, hashes.buf,
                   (size_t)hashes.len / 8, probes);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&filter);
    PyBuffer_Release(&hashes);
    return result;
}

static PyObject *contains(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer filter, hashes, found;
    unsigned probes;
    if (!PyArg_ParseTuple(args, "y*y*Iw*", &filter, &hashes, &probes, &found)) return NULL;
    PyObject *result = NULL;
    if (is_filter(&filter, &hashes) &&
        fits(found.len == hashes.len / 8, "an answer of a byte is needed for each hash")) {
        Py_BEGIN_ALLOW_THREADS
        ask_hashes(filter.buf, (uint64_t)filter.len / BLOCK_BYTES, hashes.buf,
                   (size_t)hashes.len / 8, probes, found.buf);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&filter);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&found);
    return result;
}

static PyMethodDef methods[] = {
    {"hash_ngrams", hash_ngrams, METH_VARARGS,
     "hash_ngrams(text, is_word, multipliers, out): write the hash of every n-gram of the words of "
     "`text` (lower-cased UTF-8) to `out`, which has room for half the text's bytes and one; "
     "returns how many there are."},
    {"add", add, METH_VARARGS, "add(filter, hashes, probes): set the bits of every hash."},
    {"contains", contains, METH_VARARGS,
     "contains(filter, hashes, probes, found): write 1 for every hash whose bits are all set."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "eval._ngrams", "Hashes of word n-grams and a Bloom filter.", -1,
    methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__ngrams(void) { return PyModule_Create(&module); }
