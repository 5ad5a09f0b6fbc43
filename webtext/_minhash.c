/* MinHash signatures of documents: the compiled form of `webtext.shingles` and
 * `webtext.signatures.Permutations`, which say what is computed and are tested to give the same.
 *
 * A document (lower-cased, UTF-8) is walked once: its words are hashed, then its windows of words,
 * of which each distinct one is kept, then the least image of these under each permutation is
 * found. All tables and constants come from Python, so that they are written down once.
 *
 * Text is hostile: nothing is read beyond a document, and memory grows with the longest document
 * alone, by 16 to 20 bytes for each of its bytes.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define CODE_POINTS 0x110000
#define MURMUR_1 0xFF51AFD7ED558CCDull
#define MURMUR_2 0xC4CEB9FE1A85EC53ull
#define GOLDEN 0x9E3779B97F4A7C15ull

/* Integer results are the same whichever clone runs. Sanitizers start too late for its choice. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

typedef const unsigned char *Bytes;

typedef struct {
    Bytes is_word;
    const uint64_t *multipliers, *length_terms;
    size_t shingle_words;
    const uint32_t *factors, *terms;
    size_t permutations;
} Scheme;

/* Room for the longest document's words, distinct shingles, and the set that tells them apart. */
typedef struct {
    uint64_t *words;
    uint32_t *hashes, *slots;
} Scratch;

static inline uint64_t mix(uint64_t value) {
    value = (value ^ value >> 33) * MURMUR_1;
    value = (value ^ value >> 33) * MURMUR_2;
    return value ^ value >> 33;
}

static inline uint32_t mix32(uint32_t value) {
    value = (value ^ value >> 16) * 0x85EBCA6Bu;
    value = (value ^ value >> 13) * 0xC2B2AE35u;
    return value ^ value >> 16;
}

/* ---- words ----------------------------------------------------------------------------------- */

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

static inline uint64_t little_endian(uint64_t chunk) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(chunk);
#else
    return chunk;
#endif
}

/* Eight bytes from `at`, those from `stop` on as zeros; `end` is where reading must cease. */
static inline uint64_t read_chunk(Bytes at, Bytes stop, Bytes end) {
    uint64_t chunk = 0;
    size_t left = (size_t)(stop - at);
    if ((size_t)(end - at) >= 8) {
        memcpy(&chunk, at, 8);
        chunk = little_endian(chunk);
        return left < 8 ? chunk & ((1ull << (8 * left)) - 1) : chunk;
    }
    memcpy(&chunk, at, left < 8 ? left : 8);
    return little_endian(chunk);
}

static inline uint64_t hash_word(Bytes at, Bytes stop, Bytes end) {
    uint64_t hash = (uint64_t)(stop - at) * GOLDEN;
    for (; at < stop; at += 8) {
        hash = mix(hash ^ read_chunk(at, stop, end));
        if (stop - at <= 8) break;
    }
    return hash;
}

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
        words[count++] = hash_word(start, at, end);
        if (at < end) at += size; /* what ended the word */
    }
    return count;
}

/* ---- shingles -------------------------------------------------------------------------------- */

static inline uint32_t hash_window(const uint64_t *words, size_t length, const Scheme *scheme) {
    uint64_t total = scheme->length_terms[length];
    for (size_t i = 0; i < length; i++) total += words[i] * scheme->multipliers[i];
    return (uint32_t)(mix(total) >> 32);
}

/* Keep the distinct windows' hashes, mixed as the permutations want them (mix32 is one to one, and
 * 0 marks a free slot: the hash that is 0 is told apart by `zero`). */
static size_t hash_windows(const Scheme *scheme, size_t count, Scratch *scratch) {
    size_t length = count < scheme->shingle_words ? count : scheme->shingle_words;
    size_t windows = count - length + 1, kept = 0, room = 16;
    int zero = 0;
    while (room < 2 * windows) room *= 2;
    memset(scratch->slots, 0, room * sizeof *scratch->slots);
    for (size_t i = 0; i < windows; i++) {
        uint32_t hash = mix32(hash_window(scratch->words + i, length, scheme));
        if (hash == 0) {
            if (!zero) scratch->hashes[kept++] = 0;
            zero = 1;
            continue;
        }
        size_t slot = hash & (room - 1);
        while (scratch->slots[slot] != 0 && scratch->slots[slot] != hash)
            slot = (slot + 1) & (room - 1);
        if (scratch->slots[slot] == hash) continue;
        scratch->slots[slot] = hash;
        scratch->hashes[kept++] = hash;
    }
    return kept;
}

CLONES static void minimise(const Scheme *scheme, const uint32_t *restrict hashes, size_t count,
                            uint32_t *restrict signature) {
    for (size_t p = 0; p < scheme->permutations; p++) {
        uint32_t factor = scheme->factors[p], term = scheme->terms[p], least = UINT32_MAX;
        for (size_t i = 0; i < count; i++) {
            uint32_t image = hashes[i] * factor + term;
            least = image < least ? image : least;
        }
        signature[p] = least;
    }
}

/* ---- the module ------------------------------------------------------------------------------ */

static int reserve(Scratch *scratch, size_t bytes) {
    size_t words = bytes / 2 + 1, room = 16;
    while (room < 2 * words) room *= 2;
    scratch->words = PyMem_RawMalloc(words * sizeof *scratch->words);
    scratch->hashes = PyMem_RawMalloc(words * sizeof *scratch->hashes);
    scratch->slots = PyMem_RawMalloc(room * sizeof *scratch->slots);
    return scratch->words && scratch->hashes && scratch->slots;
}

static void release(Scratch *scratch) {
    PyMem_RawFree(scratch->words);
    PyMem_RawFree(scratch->hashes);
    PyMem_RawFree(scratch->slots);
}

static int aligned(const Py_buffer *view, size_t item) {
    return (uintptr_t)view->buf % item == 0 && (size_t)view->len % item == 0;
}

/* Sign the documents of a tuple of bytes; 0 where memory is short or one is no bytes. */
static int sign_all(PyObject *texts, const Scheme *scheme, uint32_t *signatures, int64_t *counts) {
    Py_ssize_t total = PyTuple_GET_SIZE(texts), longest = 0;
    for (Py_ssize_t i = 0; i < total; i++) {
        PyObject *text = PyTuple_GET_ITEM(texts, i);
        if (!PyBytes_Check(text)) {
            PyErr_SetString(PyExc_TypeError, "texts must be bytes");
            return 0;
        }
        if (PyBytes_GET_SIZE(text) > longest) longest = PyBytes_GET_SIZE(text);
    }
    Scratch scratch = {0};
    int roomy = reserve(&scratch, (size_t)longest);
    if (!roomy) PyErr_NoMemory();
    else {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < total; i++) {
            PyObject *text = PyTuple_GET_ITEM(texts, i);
            Bytes start = (Bytes)PyBytes_AS_STRING(text), end = start + PyBytes_GET_SIZE(text);
            size_t words = hash_words(start, end, scheme->is_word, scratch.words);
            size_t kept = words ? hash_windows(scheme, words, &scratch) : 0;
            minimise(scheme, scratch.hashes, kept, signatures + (size_t)i * scheme->permutations);
            counts[i] = (int64_t)kept;
        }
        Py_END_ALLOW_THREADS
    }
    release(&scratch);
    return roomy;
}

static PyObject *sign(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *texts = NULL, *result = NULL;
    Py_buffer is_word, multipliers, lengths, factors, terms, signatures, counts;
    if (!PyArg_ParseTuple(args, "Oy*y*y*y*y*w*w*", &given, &is_word, &multipliers, &lengths,
                          &factors, &terms, &signatures, &counts))
        return NULL;
    Scheme scheme = {is_word.buf, multipliers.buf, lengths.buf, (size_t)multipliers.len / 8,
                     factors.buf, terms.buf, (size_t)factors.len / 4};
    texts = PySequence_Tuple(given);
    if (texts == NULL) goto done;
    size_t total = (size_t)PyTuple_GET_SIZE(texts);
    if (is_word.len != CODE_POINTS || scheme.shingle_words == 0 || terms.len != factors.len ||
        (size_t)lengths.len != 8 * (scheme.shingle_words + 1) ||
        (size_t)signatures.len != total * scheme.permutations * 4 ||
        (size_t)counts.len != total * 8 || !aligned(&multipliers, 8) || !aligned(&lengths, 8) ||
        !aligned(&factors, 4) || !aligned(&terms, 4) || !aligned(&signatures, 4) ||
        !aligned(&counts, 8)) {
        PyErr_SetString(PyExc_ValueError, "arrays do not fit the texts or one another");
        goto done;
    }
    if (sign_all(texts, &scheme, signatures.buf, counts.buf)) result = Py_NewRef(Py_None);
done:
    Py_XDECREF(texts);
    PyBuffer_Release(&is_word);
    PyBuffer_Release(&multipliers);
    PyBuffer_Release(&lengths);
    PyBuffer_Release(&factors);
    PyBuffer_Release(&terms);
    PyBuffer_Release(&signatures);
    PyBuffer_Release(&counts);
    return result;
}

static PyMethodDef methods[] = {
    {"sign", sign, METH_VARARGS,
     "sign(texts, is_word, multipliers, length_terms, factors, terms, signatures, counts): write "
     "each text's minima and number of distinct shingles; 0 for a text without words, whose minima "
     "are left to the caller."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "webtext._minhash", "MinHash signatures of documents.", -1, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__minhash(void) { return PyModule_Create(&module); }
