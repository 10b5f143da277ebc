cdef int set_attention(femto_attention_arguments *p, Arguments arrays, object qkv, object out, object row_max,
                       object row_scale, int64_t batch, int64_t tokens, int64_t heads,
                       int64_t head_size, Access access) except -1:
    cdef int64_t d = heads * head_size
    if batch < 0 or tokens < 1 or heads < 1 or head_size < 1:
        raise ValueError(f"qkv: tokens, heads and head size must be positive, got {tokens}, {heads}, {head_size}, "
                         f"and batch {batch}")
    p.batch, p.tokens, p.heads, p.head_size = batch, tokens, heads, head_size
    p.qkv = arrays.matrix(qkv, b"qkv", batch * tokens, 3 * d, READ, &p.ld_qkv)
    p.out = arrays.matrix(out, b"out", batch * tokens, d, access, &p.ld_out)
    p.row_max = <float *>arrays.flat(row_max, b"row_max", batch * heads * tokens, access, False)
    p.row_scale = <float *>arrays.flat(row_scale, b"row_scale", batch * heads * tokens, access, False)
    p.d_out = NULL
    p.d_qkv = NULL
    p.ld_d_out = p.ld_d_qkv = 0
    return 0


def attention_forward(object out, object row_max, object row_scale, object qkv, int64_t batch,
                      int64_t tokens, int64_t heads, int64_t head_size, double dropout, object seed, object step, object site,
                      object first_sequence):
    cdef Arguments arrays = Arguments()
    cdef femto_attention_arguments p
    cdef int status
    set_attention(&p, arrays, qkv, out, row_max, row_scale, batch, tokens, heads, head_size, WRITE)
    set_dropout(&p.dropout, dropout, seed, step, site)
    p.first_sequence = integer(first_sequence, "first_sequence", 0, MAX_FIRST)
    arrays.check_overlap()
    with nogil:
        status = kernels.attention_forward(&p)
    finish(status)


def attention_backward(object d_qkv, object d_out, object out, object row_max, object row_scale, object qkv,
                       int64_t batch, int64_t tokens, int64_t heads, int64_t head_size, double dropout,
                       object seed, object step, object site, object first_sequence):
    cdef Arguments arrays = Arguments()
    cdef femto_attention_arguments p
    cdef int status
    set_attention(&p, arrays, qkv, out, row_max, row_scale, batch, tokens, heads, head_size, READ)
    set_dropout(&p.dropout, dropout, seed, step, site)
    p.first_sequence = integer(first_sequence, "first_sequence", 0, MAX_FIRST)
    p.d_out = arrays.matrix(d_out, b"d_out", batch * tokens, heads * head_size, READ, &p.ld_d_out)
    p.d_qkv = arrays.matrix(d_qkv, b"d_qkv", batch * tokens, 3 * heads * head_size, WRITE, &p.ld_d_qkv)
    arrays.check_overlap()
    with nogil:
        status = kernels.attention_backward(&p)
    finish(status)


def attention_decode(object out, object query, object keys, object values, int64_t heads, int64_t head_size, object length,
                     int64_t capacity):
    cdef Arguments arrays = Arguments()
    cdef int64_t padded = (head_size + 15) // 16 * 16
    cdef int status
    if heads < 1 or head_size < 1 or capacity % 16 or not 1 <= index(length) <= capacity:
        raise ValueError(f"keys: expected capacity a multiple of 16 and 1 <= length <= capacity, "
                         f"got heads {heads}, head size {head_size}, length {length}, capacity {capacity}")
    cdef int64_t seen = length
    cdef const float *query_ = <const float *>arrays.flat(query, b"query", heads * head_size, READ, False)
    cdef const float *keys_ = <const float *>arrays.flat(keys, b"keys", heads * head_size * capacity, READ, False)
    cdef const float *values_ = <const float *>arrays.flat(values, b"values", heads * capacity * padded, READ, False)
    cdef float *out_ = <float *>arrays.flat(out, b"out", heads * head_size, WRITE, False)
    arrays.check_overlap()
    with nogil:
        status = kernels.attention_decode(out_, query_, keys_, values_, heads, head_size, seen, capacity)
    finish(status)


def rotary(object x, object cosine, object sine, int64_t tokens, int64_t heads, int64_t head_size, bint inverse):
    cdef Arguments arrays = Arguments()
    cdef Py_buffer *view = arrays.take(x, b"x", WRITE, False)
    cdef int64_t ld
    if tokens < 1 or heads < 1 or head_size < 1 or view.ndim != 2 or view.shape[1] != heads * head_size:
        raise ValueError(f"x: expected shape (rows, {heads * head_size}), got {shape_of(view)}")
    arrays.rows_of(view, b"x", &ld)
    cdef int64_t rows = view.shape[0]
    cdef float *x_ = <float *>view.buf
    cdef const float *cosine_ = <const float *>arrays.flat(cosine, b"cosine", tokens * (head_size // 2), READ, False)
    cdef const float *sine_ = <const float *>arrays.flat(sine, b"sine", tokens * (head_size // 2), READ, False)
    arrays.check_overlap()
    with nogil:
        kernels.rotary(x_, ld, cosine_, sine_, rows, tokens, heads, head_size, inverse)
