cdef extern from "tokens.h" nogil:
    ctypedef struct femto_embedding_forward_arguments:
        float *out
        const float *table
        const float *positions
        const int32_t *tokens
        int64_t rows, context, vocabulary, columns
    int femto_embedding_forward(const femto_embedding_forward_arguments *p)

    ctypedef struct femto_embedding_backward_arguments:
        float *dtable
        float *dpositions
        const float *dout
        const int32_t *tokens
        int64_t rows, context, vocabulary, columns
    int femto_embedding_backward(const femto_embedding_backward_arguments *p)

    ctypedef struct femto_rotary_arguments:
        float *x
        int64_t ldx
        const float *cosine
        const float *sine
        int64_t rows, tokens, heads, head_size
        int inverse
    int femto_rotary(const femto_rotary_arguments *p)

    ctypedef struct femto_cross_entropy_arguments:
        float *losses
        float *dlogits
        int64_t ld_dlogits
        const float *logits
        int64_t ld_logits
        const int32_t *targets
        float gradient_scale
        int64_t rows, vocabulary
    int femto_cross_entropy(const femto_cross_entropy_arguments *p)


cdef int check_ids(const int32_t *ids, int64_t count, int64_t lowest, int64_t limit, str name) except -1:
    cdef int64_t i
    for i in range(count):
        if ids[i] < lowest or ids[i] >= limit:
            raise ValueError(f"{name}: id {ids[i]} at position {i} is not from {lowest} to {limit - 1}")
    return 0


def embedding_forward(object out, object table, object positions, object tokens, int64_t context):
    cdef Arguments arrays = Arguments()
    cdef femto_embedding_forward_arguments p
    cdef int status
    p.tokens = <const int32_t *>arrays.flat(tokens, b"tokens", -1, READ, True)
    p.rows = arrays.views[0].len // 4
    cdef Py_buffer *view = arrays.take(table, b"table", READ, False)
    if view.ndim != 2:
        raise ValueError(f"table: expected a matrix, got shape {shape_of(view)}")
    arrays.contiguous(view, b"table")
    p.vocabulary, p.columns = view.shape[0], view.shape[1]
    p.table = <const float *>view.buf
    p.positions = NULL
    if context < 1:
        raise ValueError(f"context: expected at least 1, got {context}")
    p.context = context
    if positions is not None:
        p.positions = <const float *>arrays.flat(positions, b"positions", context * p.columns, READ, False)
    p.out = <float *>arrays.flat(out, b"out", p.rows * p.columns, WRITE, False)
    arrays.check_overlap()
    check_ids(p.tokens, p.rows, 0, p.vocabulary, "tokens")
    with nogil:
        arrays.start()
        status = femto_embedding_forward(&p)
        arrays.stop()
    if arrays.finish(status):
        arrays.report("embedding_forward", {"rows": p.rows, "vocabulary": p.vocabulary, "columns": p.columns},
                      ("positions",) if p.positions != NULL else ())


def embedding_backward(object dtable, object dpositions, object dout, object tokens, int64_t context):
    cdef Arguments arrays = Arguments()
    cdef femto_embedding_backward_arguments p
    cdef int status
    p.tokens = <const int32_t *>arrays.flat(tokens, b"tokens", -1, READ, True)
    p.rows = arrays.views[0].len // 4
    cdef Py_buffer *view = arrays.take(dtable, b"dtable", WRITE, False)
    if view.ndim != 2:
        raise ValueError(f"dtable: expected a matrix, got shape {shape_of(view)}")
    arrays.contiguous(view, b"dtable")
    p.vocabulary, p.columns = view.shape[0], view.shape[1]
    p.dtable = <float *>view.buf
    p.dpositions = NULL
    if context < 1:
        raise ValueError(f"context: expected at least 1, got {context}")
    p.context = context
    if dpositions is not None:
        p.dpositions = <float *>arrays.flat(dpositions, b"dpositions", context * p.columns, WRITE, False)
    p.dout = <const float *>arrays.flat(dout, b"dout", p.rows * p.columns, READ, False)
    arrays.check_overlap()
    check_ids(p.tokens, p.rows, 0, p.vocabulary, "tokens")
    with nogil:
        arrays.start()
        status = femto_embedding_backward(&p)
        arrays.stop()
    if arrays.finish(status):
        arrays.report("embedding_backward", {"rows": p.rows, "vocabulary": p.vocabulary, "columns": p.columns},
                      ("positions",) if p.dpositions != NULL else ())


def rotary(object x, object cosine, object sine, int64_t tokens, int64_t heads, int64_t head_size, bint inverse):
    cdef Arguments arrays = Arguments()
    cdef femto_rotary_arguments p
    cdef int status
    cdef Py_buffer *view = arrays.take(x, b"x", WRITE, False)
    if tokens < 1 or heads < 1 or head_size < 1 or view.ndim != 2 or view.shape[1] != heads * head_size:
        raise ValueError(f"x: expected shape (rows, {heads * head_size}), got {shape_of(view)}")
    arrays.rows_of(view, b"x", &p.ldx)
    p.rows, p.tokens, p.heads, p.head_size, p.inverse = view.shape[0], tokens, heads, head_size, inverse
    p.x = <float *>view.buf
    p.cosine = <const float *>arrays.flat(cosine, b"cosine", tokens * (head_size // 2), READ, False)
    p.sine = <const float *>arrays.flat(sine, b"sine", tokens * (head_size // 2), READ, False)
    arrays.check_overlap()
    with nogil:
        arrays.start()
        status = femto_rotary(&p)
        arrays.stop()
    if arrays.finish(status):
        arrays.report("rotary", {"rows": p.rows, "tokens": tokens, "heads": heads, "head_size": head_size},
                      ("inverse",) if inverse else ())


def cross_entropy(object losses, object dlogits, object logits, object targets, float gradient_scale):
    cdef Arguments arrays = Arguments()
    cdef femto_cross_entropy_arguments p
    cdef int status
    cdef Py_buffer *view = arrays.take(logits, b"logits", READ_IN_PLACE, False)
    if view.ndim != 2 or view.shape[1] < 1:
        raise ValueError(f"logits: expected shape (rows, vocabulary), got {shape_of(view)}")
    arrays.rows_of(view, b"logits", &p.ld_logits)
    p.rows, p.vocabulary, p.gradient_scale = view.shape[0], view.shape[1], gradient_scale
    p.logits = <const float *>view.buf
    p.targets = <const int32_t *>arrays.flat(targets, b"targets", p.rows, READ, True)
    p.losses = <float *>arrays.flat(losses, b"losses", p.rows, WRITE, False)
    p.dlogits = NULL
    p.ld_dlogits = 0
    if dlogits is not None:
        p.dlogits = arrays.matrix(dlogits, b"dlogits", p.rows, p.vocabulary, WRITE_IN_PLACE, &p.ld_dlogits)
    arrays.check_overlap()
    check_ids(p.targets, p.rows, -1, p.vocabulary, "targets")
    with nogil:
        arrays.start()
        status = femto_cross_entropy(&p)
        arrays.stop()
    if arrays.finish(status):
        arrays.report("cross_entropy", {"rows": p.rows, "vocabulary": p.vocabulary},
                      ("dlogits",) if p.dlogits != NULL else ())
