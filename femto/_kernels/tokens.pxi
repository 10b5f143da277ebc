cdef extern from "tokens.h" nogil:
    ctypedef struct femto_embedding_forward_arguments:
        float *out
        const float *table
        const float *positions
        const int32_t *tokens
        int64_t rows, context, vocabulary, columns, first
    int femto_embedding_forward_call(const void *p)

    ctypedef struct femto_embedding_backward_arguments:
        float *dtable
        float *dpositions
        const float *dout
        const int32_t *tokens
        int64_t rows, context, vocabulary, columns
    int femto_embedding_backward_call(const void *p)

    ctypedef struct femto_rotary_arguments:
        float *x
        int64_t ldx
        const float *cosine
        const float *sine
        int64_t rows, tokens, heads, head_size, first
        int inverse
    int femto_rotary_call(const void *p)

    ctypedef struct femto_cross_entropy_arguments:
        float *losses
        float *dlogits
        int64_t ld_dlogits
        const float *logits
        int64_t ld_logits
        const int32_t *targets
        float gradient_scale
        int64_t rows, vocabulary
    int femto_cross_entropy_call(const void *p)


cdef int check_ids(Arguments arrays, const int32_t *ids, int64_t count, int64_t lowest, int64_t limit, const char *name) except -1:
    """Refuse ids that are not from lowest to limit - 1, now and whenever a tape makes the call again."""
    arrays.ids.ids, arrays.ids.count, arrays.ids.lowest, arrays.ids.limit, arrays.ids.name = ids, count, lowest, limit, name
    return require_ids(arrays.ids)


cdef int require_ids(IdCheck check) except -1:
    cdef int64_t i
    for i in range(check.count):
        if check.ids[i] < check.lowest or check.ids[i] >= check.limit:
            raise ValueError(f"{check.name.decode()}: id {check.ids[i]} at position {i} is not from {check.lowest} "
                             f"to {check.limit - 1}")
    return 0


def embedding_forward(object out, object table, object positions, object tokens, int64_t context, object first):
    cdef Arguments arrays = Arguments()
    cdef femto_embedding_forward_arguments p
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
    p.first = arrays.number(first, "first", 0, MAX_FIRST, &p.first, 8)
    check_ids(arrays, p.tokens, p.rows, 0, p.vocabulary, b"tokens")
    if arrays.call(femto_embedding_forward_call, &p, sizeof(p)):
        arrays.report("embedding_forward", {"rows": p.rows, "vocabulary": p.vocabulary, "columns": p.columns},
                      ("positions",) if p.positions != NULL else ())


def embedding_backward(object dtable, object dpositions, object dout, object tokens, int64_t context):
    cdef Arguments arrays = Arguments()
    cdef femto_embedding_backward_arguments p
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
    check_ids(arrays, p.tokens, p.rows, 0, p.vocabulary, b"tokens")
    if arrays.call(femto_embedding_backward_call, &p, sizeof(p)):
        arrays.report("embedding_backward", {"rows": p.rows, "vocabulary": p.vocabulary, "columns": p.columns},
                      ("positions",) if p.dpositions != NULL else ())


def rotary(object x, object cosine, object sine, int64_t tokens, int64_t heads, int64_t head_size, bint inverse, object first):
    cdef Arguments arrays = Arguments()
    cdef femto_rotary_arguments p
    cdef Py_buffer *view = arrays.take(x, b"x", WRITE, False)
    if tokens < 1 or heads < 1 or head_size < 1 or view.ndim != 2 or view.shape[1] != heads * head_size:
        raise ValueError(f"x: expected shape (rows, {heads * head_size}), got {shape_of(view)}")
    arrays.rows_of(view, b"x", &p.ldx)
    p.rows, p.tokens, p.heads, p.head_size, p.inverse = view.shape[0], tokens, heads, head_size, inverse
    p.x = <float *>view.buf
    p.cosine = <const float *>arrays.flat(cosine, b"cosine", tokens * (head_size // 2), READ, False)
    p.first = arrays.number(first, "first", 0, MAX_FIRST, &p.first, 8)
    p.sine = <const float *>arrays.flat(sine, b"sine", tokens * (head_size // 2), READ, False)
    if arrays.call(femto_rotary_call, &p, sizeof(p)):
        arrays.report("rotary", {"rows": p.rows, "tokens": tokens, "heads": heads, "head_size": head_size},
                      ("inverse",) if inverse else ())


def cross_entropy(object losses, object dlogits, object logits, object targets, float gradient_scale):
    cdef Arguments arrays = Arguments()
    cdef femto_cross_entropy_arguments p
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
    check_ids(arrays, p.targets, p.rows, -1, p.vocabulary, b"targets")
    if arrays.call(femto_cross_entropy_call, &p, sizeof(p)):
        arrays.report("cross_entropy", {"rows": p.rows, "vocabulary": p.vocabulary},
                      ("dlogits",) if p.dlogits != NULL else ())
