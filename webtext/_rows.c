/* Submissions out of JSON lines: the compiled reader of `webtext.submission_rows`.
 *
 * `Scanner.feed(text)` walks whole lines of a dump by JSON's grammar (RFC 8259) and keeps the few
 * top-level fields that a submission is judged by. It is strict: a line that it is not certain of
 * (an escape beyond the plain ones, a number where text is expected, nesting beyond 64, a URL that
 * needs more than the rules below) is handed back untouched, and the Python reader decides. So it may
 * be incomplete, but what it does keep must be what the Python reader would have kept, to the byte.
 *
 * URLs are normalised as `webtext.urls` says, for the common case: http or https in lower case, a
 * host of plain letters and no port. Hosts themselves are judged in Python, once each.
 *
 * Every byte is hostile: nothing is read beyond the text given, nothing written beyond what was
 * reserved, and nothing recurses.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define MAX_DEPTH 64
#define MAX_URL 2000
#define MAX_ID 13
#define MAX_SUBREDDIT 100
#define MAX_NAMES 512

typedef const unsigned char *Bytes;

/* ---- growing buffers ---------------------------------------------------------------------- */

typedef struct {
    unsigned char *data;
    size_t size, room;
} Buffer;

static int reserve(Buffer *buffer, size_t more) {
    if (buffer->room - buffer->size >= more) return 1;
    size_t room = buffer->room * 2 + more + 4096;
    unsigned char *data = PyMem_RawRealloc(buffer->data, room);
    if (data == NULL) return 0;
    buffer->data = data;
    buffer->room = room;
    return 1;
}

static int append(Buffer *buffer, const void *source, size_t size) {
    if (!reserve(buffer, size)) return 0;
    if (size) memcpy(buffer->data + buffer->size, source, size);
    buffer->size += size;
    return 1;
}

static PyObject *take(Buffer *buffer) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)buffer->data, (Py_ssize_t)buffer->size);
    buffer->size = 0;
    return bytes;
}

/* A column of text as Arrow lays it out: all bytes, and where each value ends. */
typedef struct {
    Buffer text, ends;
} Column;

static int close_value(Column *column) {
    int32_t end = (int32_t)column->text.size;
    return append(&column->ends, &end, sizeof end);
}

static int add_value(Column *column, const void *source, size_t size) {
    return append(&column->text, source, size) && close_value(column);
}

/* ---- the scanner's state ------------------------------------------------------------------- */

typedef struct {
    unsigned char size;
    char text[31];
} Name;

typedef struct {
    PyObject_HEAD
    Column site, path, id, subreddit;
    Buffer karma, created, flags;
    Py_ssize_t rows, blank, self_posts;
    Name extensions[MAX_NAMES], tracking[MAX_NAMES];
    int extension_count, tracking_count;
} Scanner;

enum { OVER_18 = 1, MEDIA = 2 };
enum Kind { FAILED = -1, ODD, BLANK, SELF_POST, ROW };

/* ---- JSON ------------------------------------------------------------------------------------ */

static Bytes skip_space(Bytes at, Bytes end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) at++;
    return at;
}

/* The first quote, backslash or control character from `at` on; `high` learns of non-ASCII bytes. */
static Bytes find_special(Bytes at, Bytes end, int *high) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i last_control = _mm_set1_epi8(0x1f);
    while (end - at >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)at);
        __m128i control = _mm_cmpeq_epi8(_mm_max_epu8(block, last_control), last_control);
        __m128i hit = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, slash)), control);
        int found = _mm_movemask_epi8(hit), above = _mm_movemask_epi8(block);
        if (found) {
            int place = __builtin_ctz((unsigned)found);
            if (above & ((1 << place) - 1)) *high = 1;
            return at + place;
        }
        if (above) *high = 1;
        at += 16;
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20) {
        if (*at & 0x80) *high = 1;
        at++;
    }
    return at;
}

static int is_hex(unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Whether the bytes are UTF-8 (RFC 3629): no overlong form, no half surrogate, nothing too high. */
static int is_utf8(Bytes at, Bytes end) {
    while (at < end) {
        unsigned char c = *at++;
        if (c < 0x80) continue;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - at < more) return 0;
        unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        unsigned char top = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (*at < low || *at > top) return 0;
        at++;
        for (int i = 1; i < more; i++, at++)
            if ((*at & 0xc0) != 0x80) return 0;
    }
    return 1;
}

/* Skip a string whose opening quote is behind us; its closing quote's successor, or NULL. */
static Bytes skip_string(Bytes at, Bytes end, int *escaped, int *high) {
    Bytes start = at;
    *escaped = *high = 0;
    for (;;) {
        at = find_special(at, end, high);
        if (at >= end || *at < 0x20) return NULL;
        if (*at == '"') break;
        *escaped = 1;
        if (end - at < 2) return NULL;
        if (at[1] == 'u') {
            if (end - at < 6) return NULL;
            for (int i = 2; i < 6; i++)
                if (!is_hex(at[i])) return NULL;
            /* Half of a surrogate pair, or both: the Python reader knows what to do. */
            if ((at[2] | 0x20) == 'd' && at[3] >= '8') return NULL;
            at += 6;
        } else {
            if (at[1] == 0 || strchr("\"\\/bfnrt", at[1]) == NULL) return NULL;
            at += 2;
        }
    }
    if (*high && !is_utf8(start, at)) return NULL;
    return at + 1;
}

/* Skip a number by JSON's grammar; `whole` learns whether it is an integer of at most 18 digits. */
static Bytes skip_number(Bytes at, Bytes end, int *whole) {
    if (at < end && *at == '-') at++;
    Bytes digits = at;
    while (at < end && *at >= '0' && *at <= '9') at++;
    if (at == digits || (*digits == '0' && at - digits > 1)) return NULL;
    *whole = at - digits <= 18;
    if (at < end && *at == '.') {
        Bytes fraction = ++at;
        while (at < end && *at >= '0' && *at <= '9') at++;
        if (at == fraction) return NULL;
        *whole = 0;
    }
    if (at < end && (*at | 0x20) == 'e') return NULL; /* rare, and may overflow */
    return at;
}

/* A macro, so that lengths are constants and the comparison is one instruction. */
#define SKIP_WORD(at, end, word) \
    ((size_t)((end) - (at)) >= sizeof(word) - 1 && memcmp(at, word, sizeof(word) - 1) == 0 \
         ? (at) + sizeof(word) - 1 : NULL)

static Bytes skip_scalar(Bytes at, Bytes end) {
    int escaped, high, whole;
    if (at >= end) return NULL;
    switch (*at) {
        case '"': return skip_string(at + 1, end, &escaped, &high);
        case 't': return SKIP_WORD(at, end, "true");
        case 'f': return SKIP_WORD(at, end, "false");
        case 'n': return SKIP_WORD(at, end, "null");
        default: return skip_number(at, end, &whole);
    }
}

/* Skip the key of an object and its colon. */
static Bytes skip_key(Bytes at, Bytes end) {
    int escaped, high;
    at = skip_space(at, end);
    if (at >= end || *at != '"') return NULL;
    at = skip_string(at + 1, end, &escaped, &high);
    if (at == NULL) return NULL;
    at = skip_space(at, end);
    return at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
}

/* Skip any value. Bit d of `objects` tells whether the container at depth d is an object. */
static Bytes skip_value(Bytes at, Bytes end) {
    uint64_t objects = 0;
    int depth = 0;
    for (;;) {
        /* A value begins here. */
        if (at >= end) return NULL;
        if (*at == '{' || *at == '[') {
            if (depth == MAX_DEPTH - 1) return NULL;
            int object = *at == '{';
            Bytes inside = skip_space(at + 1, end);
            if (inside < end && *inside == (object ? '}' : ']')) {
                at = inside + 1;
            } else {
                depth++;
                objects = object ? objects | (1ull << depth) : objects & ~(1ull << depth);
                at = object ? skip_key(inside, end) : inside;
                if (at == NULL) return NULL;
                continue;
            }
        } else if ((at = skip_scalar(at, end)) == NULL) {
            return NULL;
        }
        /* A value ended here: close containers, or go on to the next value. */
        for (;;) {
            if (depth == 0) return at;
            at = skip_space(at, end);
            if (at >= end) return NULL;
            int object = (objects >> depth) & 1;
            if (*at == ',') {
                at = object ? skip_key(at + 1, end) : skip_space(at + 1, end);
                if (at == NULL) return NULL;
                break;
            }
            if (*at != (object ? '}' : ']')) return NULL;
            at++;
            depth--;
        }
    }
}

/* ---- the fields of a submission ----------------------------------------------------------- */

typedef struct {
    Bytes start;
    size_t size;
    int given, escaped;
} Text;

typedef struct {
    Text id, url, subreddit, domain;
    int64_t karma, created;
    int has_karma, has_created, is_self, over_18; /* the last two: -1 null or absent, 0, 1 */
} Fields;

enum Field { ID, URL, SCORE, DOMAIN, IS_SELF, OVER, CREATED, SUBREDDIT, OTHER };

static enum Field name_field(Bytes key, size_t size) {
#define IS(name) (memcmp(key, name, sizeof name - 1) == 0)
    switch (size) {
        case 2: return IS("id") ? ID : OTHER;
        case 3: return IS("url") ? URL : OTHER;
        case 5: return IS("score") ? SCORE : OTHER;
        case 6: return IS("domain") ? DOMAIN : OTHER;
        case 7: return IS("is_self") ? IS_SELF : IS("over_18") ? OVER : OTHER;
        case 9: return IS("subreddit") ? SUBREDDIT : OTHER;
        case 11: return IS("created_utc") ? CREATED : OTHER;
        default: return OTHER;
    }
#undef IS
}

static Bytes read_text(Bytes at, Bytes end, Text *text) {
    int high;
    text->given = 0;
    if (at < end && *at == 'n') return SKIP_WORD(at, end, "null");
    if (at >= end || *at != '"') return NULL;
    text->start = at + 1;
    at = skip_string(at + 1, end, &text->escaped, &high);
    if (at == NULL || high) return NULL;
    text->size = (size_t)(at - 1 - text->start);
    text->given = 1;
    return at;
}

static int64_t parse_digits(Bytes at, Bytes end) {
    int64_t value = 0;
    for (; at < end; at++) value = value * 10 + (*at - '0');
    return value;
}

static Bytes read_whole(Bytes at, Bytes end, int64_t *value) {
    int whole = 0;
    Bytes start = at;
    at = skip_number(at, end, &whole);
    if (at == NULL || !whole) return NULL;
    *value = *start == '-' ? -parse_digits(start + 1, at) : parse_digits(start, at);
    return at;
}

/* Whole seconds, as a number or as its digits in quotes (years of Pushshift have them so). */
static Bytes read_time(Bytes at, Bytes end, int64_t *value) {
    if (at >= end || *at != '"') return read_whole(at, end, value);
    Bytes digits = ++at;
    while (at < end && *at >= '0' && *at <= '9') at++;
    if (at == digits || at - digits > 12 || at >= end || *at != '"') return NULL;
    *value = parse_digits(digits, at);
    return at + 1;
}

static Bytes read_truth(Bytes at, Bytes end, int *value) {
    if (at >= end) return NULL;
    *value = *at == 't' ? 1 : *at == 'f' ? 0 : -1;
    return *value == 1 ? SKIP_WORD(at, end, "true")
         : *value == 0 ? SKIP_WORD(at, end, "false") : SKIP_WORD(at, end, "null");
}

static Bytes read_field(enum Field field, Bytes at, Bytes end, Fields *fields) {
    switch (field) {
        case ID: return read_text(at, end, &fields->id);
        case URL: return read_text(at, end, &fields->url);
        case DOMAIN: return read_text(at, end, &fields->domain);
        case SUBREDDIT: return read_text(at, end, &fields->subreddit);
        case IS_SELF: return read_truth(at, end, &fields->is_self);
        case OVER: return read_truth(at, end, &fields->over_18);
        case SCORE: fields->has_karma = 1; return read_whole(at, end, &fields->karma);
        case CREATED: fields->has_created = 1; return read_time(at, end, &fields->created);
        default: return skip_value(at, end);
    }
}

/* Read an object's fields; 0 where the line is not certainly one. */
static int read_object(Bytes at, Bytes end, Fields *fields) {
    at = skip_space(at, end);
    if (at >= end || *at != '{') return 0;
    at = skip_space(at + 1, end);
    while (at < end && *at == '"') {
        int escaped, high;
        Bytes key = at + 1, value = skip_string(key, end, &escaped, &high);
        if (value == NULL || escaped) return 0;
        enum Field field = name_field(key, (size_t)(value - 1 - key));
        at = skip_space(value, end);
        if (at >= end || *at != ':') return 0;
        at = read_field(field, skip_space(at + 1, end), end, fields);
        if (at == NULL) return 0;
        at = skip_space(at, end);
        if (at < end && *at == '}') return skip_space(at + 1, end) == end;
        if (at >= end || *at != ',') return 0;
        at = skip_space(at + 1, end);
    }
    return 0;
}

/* ---- URLs -------------------------------------------------------------------------------------- */

/* What a byte is in a URL: 1 unreserved, 2 kept in a path, 4 kept in a query, 8 part of a host. */
static unsigned char url_class[256];
enum { UNRESERVED = 1, IN_PATH = 2, IN_QUERY = 4, IN_HOST = 8 };

static void fill_url_class(void) {
    for (int c = 'a'; c <= 'z'; c++) {
        url_class[c] = UNRESERVED | IN_PATH | IN_QUERY | IN_HOST;
        url_class[c - 32] = url_class[c];
    }
    for (int c = '0'; c <= '9'; c++) url_class[c] = UNRESERVED | IN_PATH | IN_QUERY | IN_HOST;
    for (const char *c = "._-"; *c; c++)
        url_class[(int)*c] = UNRESERVED | IN_PATH | IN_QUERY | IN_HOST;
    url_class['~'] = UNRESERVED | IN_PATH | IN_QUERY;
    for (const char *c = "!$&()*+,;=:@/"; *c; c++) url_class[(int)*c] = IN_PATH | IN_QUERY;
    url_class['\''] = IN_PATH;
    url_class['?'] = IN_QUERY;
}

static int hex_value(unsigned char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

/* The URL as posted: JSON's `\/` and the API's `&amp;` undone. Its size, or -1 if more is needed. */
static int unescape_url(const Text *url, unsigned char *out) {
    int size = 0;
    Bytes at = url->start, end = at + url->size;
    while (at < end) {
        unsigned char c = *at++;
        if (c == '\\') {
            if (*at != '/') return -1;
            c = *at++;
        } else if (c == '&' && end - at >= 3) {
            if (end - at >= 4 && memcmp(at, "amp;", 4) == 0) at += 4;
            else if (memcmp(at, "lt;", 3) == 0) { c = '<'; at += 3; }
            else if (memcmp(at, "gt;", 3) == 0) { c = '>'; at += 3; }
        }
        if (c < 0x20 || c >= 0x7f) return -1;
        out[size++] = c;
    }
    return size;
}

/* Write one escape or character as it should be; returns the bytes read. */
static int mend_character(Bytes at, Bytes end, int kept, unsigned char *out, int *size) {
    static const char digits[] = "0123456789ABCDEF";
    unsigned char c = *at;
    if (c == '%' && end - at >= 3 && is_hex(at[1]) && is_hex(at[2])) {
        unsigned char meant = (unsigned char)(hex_value(at[1]) << 4 | hex_value(at[2]));
        if (meant < 0x80 && url_class[meant] & UNRESERVED) {
            out[(*size)++] = meant;
        } else {
            out[(*size)++] = '%';
            out[(*size)++] = (unsigned char)digits[meant >> 4];
            out[(*size)++] = (unsigned char)digits[meant & 15];
        }
        return 3;
    }
    if (url_class[c] & kept) {
        out[(*size)++] = c;
    } else {
        out[(*size)++] = '%';
        out[(*size)++] = (unsigned char)digits[c >> 4];
        out[(*size)++] = (unsigned char)digits[c & 15];
    }
    return 1;
}

static int is_named(const Name *names, int count, Bytes text, size_t size) {
    for (int i = 0; i < count; i++) {
        if (names[i].size != size) continue;
        size_t same = 0;
        while (same < size) {
            unsigned char c = text[same];
            if (c >= 'A' && c <= 'Z') c |= 0x20;
            if (c != (unsigned char)names[i].text[same]) break;
            same++;
        }
        if (same == size) return 1;
    }
    return 0;
}

static int has_tracking(const Scanner *scanner, Bytes query, Bytes end) {
    while (query < end) {
        Bytes field_end = memchr(query, '&', (size_t)(end - query));
        if (field_end == NULL) field_end = end;
        Bytes name_end = memchr(query, '=', (size_t)(field_end - query));
        size_t size = (size_t)((name_end ? name_end : field_end) - query);
        if (size >= 4 && (query[0] | 0x20) == 'u' && (query[1] | 0x20) == 't' &&
            (query[2] | 0x20) == 'm' && query[3] == '_')
            return 1;
        if (is_named(scanner->tracking, scanner->tracking_count, query, size)) return 1;
        query = field_end + 1;
    }
    return 0;
}

static int is_media(const Scanner *scanner, Bytes path, Bytes end) {
    Bytes at = end;
    while (at > path && at[-1] != '/' && at[-1] != '.') at--;
    if (at == path || at[-1] != '.') return 0;
    return is_named(scanner->extensions, scanner->extension_count, at, (size_t)(end - at));
}

/* Normalise a URL into site (`https://host`) and path with query; 0: not a plain one, -1: no memory. */
static int add_url(Scanner *scanner, const Text *url, int *media) {
    unsigned char posted[MAX_URL], path[3 * MAX_URL + 2];
    if (url->size > MAX_URL) return 0;
    int length = unescape_url(url, posted);
    if (length < 8 || posted[length - 1] == ' ') return 0;
    Bytes at = posted, end = posted + length;
    int scheme = memcmp(at, "http://", 7) == 0 ? 7 : memcmp(at, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return 0;
    Bytes host = at + scheme;
    for (at = host; at < end && url_class[*at] & IN_HOST; at++) {
    }
    if (at == host || at - host > 253 || (at < end && *at != '/' && *at != '?' && *at != '#'))
        return 0;
    Bytes host_end = at;
    int size = 0, path_size;
    if (at == end || *at != '/') path[size++] = '/';
    while (at < end && *at != '?' && *at != '#') at += mend_character(at, end, IN_PATH, path, &size);
    path_size = size;
    for (int i = 0; i + 1 < size; i++)
        if (path[i] == '/' && path[i + 1] == '.') return 0; /* dot segments, perhaps */
    if (at < end && *at == '?') {
        path[size++] = '?';
        at++;
        while (at < end && *at != '#') at += mend_character(at, end, IN_QUERY, path, &size);
        if (size == path_size + 1) size = path_size;
        else if (has_tracking(scanner, path + path_size + 1, path + size)) return 0;
    }
    if ((host_end - posted) + size > MAX_URL) return 0;
    *media = is_media(scanner, path, path + path_size);
    Buffer *site = &scanner->site.text;
    if (!append(site, posted, (size_t)scheme) || !reserve(site, (size_t)(host_end - host))) return -1;
    for (Bytes c = host; c < host_end; c++)
        site->data[site->size++] = *c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c;
    if (!close_value(&scanner->site) || !add_value(&scanner->path, path, (size_t)size)) return -1;
    return 1;
}

/* ---- lines --------------------------------------------------------------------------------------- */

static int is_plain_id(const Text *id) {
    if (!id->given || id->escaped || id->size < 1 || id->size > MAX_ID) return 0;
    for (size_t i = 0; i < id->size; i++) {
        unsigned char c = id->start[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'))) return 0;
    }
    return 1;
}

static int is_self_post(const Fields *fields) {
    if (fields->is_self >= 0) return fields->is_self;
    return fields->domain.given && fields->domain.size >= 5 &&
           memcmp(fields->domain.start, "self.", 5) == 0;
}

static enum Kind read_line(Scanner *scanner, Bytes at, Bytes end) {
    Fields fields;
    memset(&fields, 0, sizeof fields);
    fields.is_self = fields.over_18 = -1;
    if (at == end) return BLANK;
    if (!read_object(at, end, &fields)) return ODD;
    if (fields.is_self < 0 && fields.domain.given && fields.domain.escaped) return ODD;
    if (is_self_post(&fields)) return SELF_POST;
    if (!fields.has_karma || !fields.url.given || !is_plain_id(&fields.id)) return ODD;
    if (fields.subreddit.given && (fields.subreddit.escaped || fields.subreddit.size > MAX_SUBREDDIT))
        return ODD;
    int media = 0, added = add_url(scanner, &fields.url, &media);
    if (added <= 0) return added ? FAILED : ODD;
    unsigned char flags = (unsigned char)((fields.over_18 == 1 ? OVER_18 : 0) | (media ? MEDIA : 0));
    int64_t created = fields.has_created ? fields.created : 0;
    size_t subreddit = fields.subreddit.given ? fields.subreddit.size : 0;
    if (!add_value(&scanner->id, fields.id.start, fields.id.size) ||
        !add_value(&scanner->subreddit, fields.subreddit.start, subreddit) ||
        !append(&scanner->karma, &fields.karma, sizeof fields.karma) ||
        !append(&scanner->created, &created, sizeof created) ||
        !append(&scanner->flags, &flags, sizeof flags))
        return FAILED;
    scanner->rows++;
    return ROW;
}

static PyObject *feed(PyObject *self, PyObject *argument) {
    Scanner *scanner = (Scanner *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(argument, &view, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *odd = PyList_New(0);
    Py_ssize_t lines = 0;
    Bytes at = view.buf, end = at + view.len;
    while (odd != NULL && at < end) {
        Bytes line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL) line_end = end;
        enum Kind kind = read_line(scanner, at, line_end);
        lines++;
        if (kind == BLANK) scanner->blank++;
        if (kind == SELF_POST) scanner->self_posts++;
        if (kind == FAILED) {
            Py_CLEAR(odd);
            PyErr_NoMemory();
        } else if (kind == ODD) {
            PyObject *line = PyBytes_FromStringAndSize((const char *)at, line_end - at);
            if (line == NULL || PyList_Append(odd, line) < 0) Py_CLEAR(odd);
            Py_XDECREF(line);
        }
        at = line_end + 1;
    }
    PyBuffer_Release(&view);
    return odd == NULL ? NULL : Py_BuildValue("(nN)", lines, odd);
}

static PyObject *take_rows(PyObject *self, PyObject *Py_UNUSED(nothing)) {
    Scanner *scanner = (Scanner *)self;
    PyObject *taken = Py_BuildValue(
        "(nnnNNNNNNNNNNN)", scanner->rows, scanner->blank, scanner->self_posts,
        take(&scanner->site.ends), take(&scanner->site.text),
        take(&scanner->path.ends), take(&scanner->path.text),
        take(&scanner->id.ends), take(&scanner->id.text),
        take(&scanner->subreddit.ends), take(&scanner->subreddit.text),
        take(&scanner->karma), take(&scanner->created), take(&scanner->flags));
    scanner->rows = scanner->blank = scanner->self_posts = 0;
    return taken;
}

static int read_names(PyObject *list, Name *names, int *count) {
    Py_ssize_t size = PySequence_Size(list);
    if (size < 0) return -1;
    if (size > MAX_NAMES) {
        PyErr_Format(PyExc_ValueError, "%zd names, at most %d", size, MAX_NAMES);
        return -1;
    }
    *count = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = PySequence_GetItem(list, i);
        char *text;
        Py_ssize_t length;
        if (item == NULL || PyBytes_AsStringAndSize(item, &text, &length) < 0) {
            Py_XDECREF(item);
            return -1;
        }
        if (length < 1 || length > (Py_ssize_t)sizeof names->text) {
            PyErr_Format(PyExc_ValueError, "the name %R has not 1 to %zu bytes", item,
                         sizeof names->text);
            Py_DECREF(item);
            return -1;
        }
        names[*count].size = (unsigned char)length;
        memcpy(names[*count].text, text, (size_t)length);
        (*count)++;
        Py_DECREF(item);
    }
    return 0;
}

static int init_scanner(PyObject *self, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"extensions", "tracking", NULL};
    Scanner *scanner = (Scanner *)self;
    PyObject *extensions, *tracking;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO", names, &extensions, &tracking))
        return -1;
    if (read_names(extensions, scanner->extensions, &scanner->extension_count) < 0) return -1;
    return read_names(tracking, scanner->tracking, &scanner->tracking_count);
}

static void free_scanner(PyObject *self) {
    Scanner *scanner = (Scanner *)self;
    Buffer *buffers[] = {&scanner->site.text, &scanner->site.ends, &scanner->path.text,
                         &scanner->path.ends, &scanner->id.text, &scanner->id.ends,
                         &scanner->subreddit.text, &scanner->subreddit.ends, &scanner->karma,
                         &scanner->created, &scanner->flags};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) PyMem_RawFree(buffers[i]->data);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef scanner_methods[] = {
    {"feed", feed, METH_O,
     "feed(text): read whole lines; how many, and those that the Python reader must judge."},
    {"take", take_rows, METH_NOARGS,
     "take(): rows, blank lines and self posts since the last call, then the rows' columns."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot scanner_slots[] = {
    {Py_tp_doc, "Scanner(extensions, tracking): lower-case names as bytes."},
    {Py_tp_init, init_scanner},
    {Py_tp_dealloc, free_scanner},
    {Py_tp_methods, scanner_methods},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    "webtext._rows.Scanner", sizeof(Scanner), 0, Py_TPFLAGS_DEFAULT, scanner_slots};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "webtext._rows", "Submissions out of JSON lines.", -1, NULL,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rows(void) {
    fill_url_class();
    PyObject *made = PyModule_Create(&module);
    if (made == NULL) return NULL;
    PyObject *type = PyType_FromSpec(&scanner_spec);
    if (type == NULL || PyModule_AddObject(made, "Scanner", type) < 0) {
        Py_XDECREF(type);
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
