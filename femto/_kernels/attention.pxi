cdef extern from "attention.h" nogil:
    ctypedef struct femto_attention_forward_arguments:
        const float *qkv
        int64_t ld_qkv
        float *out
        int64_t ld_out
        float *row_max
        float *row_scale
        int64_t batch, tokens, heads, head_size
        int64_t first_sequence
        femto_dropout_settings dropout
    int femto_attention_forward_call(const void *p)

    ctypedef struct femto_attention_backward_arguments:
        femto_attention_forward_arguments forward
        const float *dout
        int64_t ld_dout
        float *dqkv
        int64_t ld_dqkv
    int femto_attention_backward_call(const void *p)

    ctypedef struct femto_cache_store_arguments:
        float *keys
        float *values
        const float *qkv
        int64_t ld_qkv
        int64_t rows, heads, head_size, capacity, first
    int femto_cache_store_call(const void *p)

    ctypedef struct femto_attention_decode_arguments:
        float *out
        const float *query
        const float *keys
        const float *values
        int64_t heads, head_size, length, capacity
    int femto_attention_decode_call(const void *p)


cdef int set_attention(femto_attention_forward_arguments *p, Arguments arrays, object qkv, object out, object row_max,
                       object row_scale, int64_t batch, int64_t tokens, int64_t heads, int64_t head_size, double dropout,
                       object seed, object step, object site, object first_sequence, Access access) except -1:
    cdef int64_t d = heads * head_size
    if batch < 0 or tokens < 1 or heads < 1 or head_size < 1:
        raise ValueError(f"qkv: tokens, heads and head size must be positive, got {tokens}, {heads}, {head_size}, "
                         f"and batch {batch}")
    p.batch, p.tokens, p.heads, p.head_size = batch, tokens, heads, head_size
    p.qkv = arrays.matrix(qkv, b"qkv", batch * tokens, 3 * d, READ, &p.ld_qkv)
    p.out = arrays.matrix(out, b"out", batch * tokens, d, access, &p.ld_out)
    p.row_max = <float *>arrays.flat(row_max, b"row_max", batch * heads * tokens, access, False)
    p.row_scale = <float *>arrays.flat(row_scale, b"row_scale", batch * heads * tokens, access, False)
    set_dropout(&p.dropout, arrays, dropout, seed, step, site)
    p.first_sequence = arrays.number(first_sequence, "first_sequence", 0, MAX_FIRST, &p.first_sequence, 8)
    return 0


cdef int report_attention(Arguments arrays, str operation, const femto_attention_forward_arguments *p, int products) except -1:
    """`products` of T x T by hs a head, of which the causal half is needed."""
    return arrays.report(operation, {"batch": p.batch, "heads": p.heads, "tokens": p.tokens, "head_size": p.head_size},
                         ("dropout",) if p.dropout.threshold < 65536 else (),
                         <double>products * <double>(p.batch * p.heads * p.head_size) * <double>p.tokens * <double>p.tokens)


def attention_forward(object out, object row_max, object row_scale, object qkv, int64_t batch,
                      int64_t tokens, int64_t heads, int64_t head_size, double dropout, object seed, object step, object site,
                      object first_sequence):
    cdef Arguments arrays = Arguments()
    cdef femto_attention_forward_arguments p
    set_attention(&p, arrays, qkv, out, row_max, row_scale, batch, tokens, heads, head_size, dropout, seed, step, site,
                  first_sequence, WRITE)
    if arrays.call(femto_attention_forward_call, &p, sizeof(p)):
        report_attention(arrays, "attention_forward", &p, 2)


def attention_backward(object dqkv, object dout, object out, object row_max, object row_scale, object qkv,
                       int64_t batch, int64_t tokens, int64_t heads, int64_t head_size, double dropout,
                       object seed, object step, object site, object first_sequence):
    cdef Arguments arrays = Arguments()
    cdef femto_attention_backward_arguments p
    set_attention(&p.forward, arrays, qkv, out, row_max, row_scale, batch, tokens, heads, head_size, dropout, seed, step, site,
                  first_sequence, READ)
    p.dout = arrays.matrix(dout, b"dout", batch * tokens, heads * head_size, READ, &p.ld_dout)
    p.dqkv = arrays.matrix(dqkv, b"dqkv", batch * tokens, 3 * heads * head_size, WRITE, &p.ld_dqkv)
    if arrays.call(femto_attention_backward_call, &p, sizeof(p)):
        report_attention(arrays, "attention_backward", &p.forward, 4)  # the scores that are computed again do not count


cdef int64_t padded_head(int64_t heads, int64_t head_size, int64_t capacity) except -1:
    """The columns that a cache has for the values of a head."""
    if heads < 1 or head_size < 1 or capacity < 16 or capacity % 16:
        raise ValueError(f"keys: expected (heads, head size, capacity), all positive, and capacity a multiple of 16, "
                         f"got ({heads}, {head_size}, {capacity})")
    return (head_size + 15) // 16 * 16


def cache_store(object qkv, object keys, object values, int64_t heads, int64_t head_size, int64_t capacity, object first):
    cdef Arguments arrays = Arguments()
    cdef femto_cache_store_arguments p
    cdef int64_t padded = padded_head(heads, head_size, capacity)
    cdef Py_buffer *view = arrays.take(qkv, b"qkv", READ, False)
    if view.ndim != 2 or view.shape[1] != 3 * heads * head_size or view.shape[0] > capacity:
        raise ValueError(f"qkv: expected shape (at most {capacity}, {3 * heads * head_size}), got {shape_of(view)}")
    arrays.rows_of(view, b"qkv", &p.ld_qkv)
    p.qkv = <const float *>view.buf
    p.rows, p.heads, p.head_size, p.capacity = view.shape[0], heads, head_size, capacity
    p.keys = <float *>arrays.flat(keys, b"keys", heads * head_size * capacity, WRITE, False)
    p.values = <float *>arrays.flat(values, b"values", heads * capacity * padded, WRITE, False)
    p.first = arrays.number(first, "first", 0, capacity - p.rows, &p.first, 8)
    if arrays.call(femto_cache_store_call, &p, sizeof(p)):
        arrays.report("cache_store", {"rows": p.rows, "heads": heads, "head_size": head_size, "capacity": capacity})


def attention_decode(object out, object query, object keys, object values, int64_t heads, int64_t head_size, object length,
                     int64_t capacity):
    cdef Arguments arrays = Arguments()
    cdef femto_attention_decode_arguments p
    cdef int64_t padded = padded_head(heads, head_size, capacity)
    p.heads, p.head_size, p.capacity = heads, head_size, capacity
    p.length = arrays.number(length, "length", 1, capacity, &p.length, 8)
    p.query = <const float *>arrays.flat(query, b"query", heads * head_size, READ, False)
    p.keys = <const float *>arrays.flat(keys, b"keys", heads * head_size * capacity, READ, False)
    p.values = <const float *>arrays.flat(values, b"values", heads * capacity * padded, READ, False)
    p.out = <float *>arrays.flat(out, b"out", heads * head_size, WRITE, False)
    if arrays.call(femto_attention_decode_call, &p, sizeof(p)):
        arrays.report("attention_decode", {"heads": heads, "head_size": head_size, "length": length, "capacity": capacity},
                      (), 4.0 * <double>(heads * head_size), "length")
