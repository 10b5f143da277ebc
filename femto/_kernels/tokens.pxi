cdef int check_ids(const int32_t *ids, int64_t count, int64_t lowest, int64_t limit, str name) except -1:
    cdef int64_t i
    for i in range(count):
        if ids[i] < lowest or ids[i] >= limit:
            raise ValueError(f"{name}: id {ids[i]} at position {i} is not from {lowest} to {limit - 1}")
    return 0


def embedding_forward(object out, object table, object positions, object tokens, int64_t context):
    cdef Arguments arrays = Arguments()
    cdef int64_t rows, vocabulary, columns, ld
    cdef const int32_t *tokens_ = <const int32_t *>arrays.flat(tokens, b"tokens", -1, READ, True)
    rows = arrays.views[0].len // 4
    cdef Py_buffer *view = arrays.take(table, b"table", READ, False)
    if view.ndim != 2 or not PyBuffer_IsContiguous(view, b"C"):
        raise ValueError(f"table: expected a C-contiguous matrix, got shape {shape_of(view)}")
    vocabulary, columns = view.shape[0], view.shape[1]
    cdef const float *table_ = <const float *>view.buf
    cdef const float *positions_ = NULL
    if context < 1:
        raise ValueError(f"context: expected at least 1, got {context}")
    if positions is not None:
        positions_ = <const float *>arrays.flat(positions, b"positions", context * columns, READ, False)
    cdef float *out_ = <float *>arrays.flat(out, b"out", rows * columns, WRITE, False)
    arrays.check_overlap()
    check_ids(tokens_, rows, 0, vocabulary, "tokens")
    with nogil:
        kernels.embedding_forward(out_, table_, positions_, tokens_, rows, context, columns)


def embedding_backward(object dtable, object dpositions, object dout, object tokens, int64_t context):
    cdef Arguments arrays = Arguments()
    cdef int64_t rows, vocabulary, columns
    cdef const int32_t *tokens_ = <const int32_t *>arrays.flat(tokens, b"tokens", -1, READ, True)
    rows = arrays.views[0].len // 4
    cdef Py_buffer *view = arrays.take(dtable, b"dtable", WRITE, False)
    if view.ndim != 2 or not PyBuffer_IsContiguous(view, b"C"):
        raise ValueError(f"dtable: expected a C-contiguous matrix, got shape {shape_of(view)}")
    vocabulary, columns = view.shape[0], view.shape[1]
    cdef float *dtable_ = <float *>view.buf
    cdef float *dpositions_ = NULL
    if context < 1:
        raise ValueError(f"context: expected at least 1, got {context}")
    if dpositions is not None:
        dpositions_ = <float *>arrays.flat(dpositions, b"dpositions", context * columns, WRITE, False)
    cdef const float *dout_ = <const float *>arrays.flat(dout, b"dout", rows * columns, READ, False)
    arrays.check_overlap()
    check_ids(tokens_, rows, 0, vocabulary, "tokens")
    with nogil:
        kernels.embedding_backward(dtable_, dpositions_, dout_, tokens_, rows, context, columns)


def cross_entropy(object losses, object dlogits, object logits, object targets, float gradient_scale):
    cdef Arguments arrays = Arguments()
    cdef int64_t ld_logits, ld_dlogits = 0
    cdef Py_buffer *view = arrays.take(logits, b"logits", READ_IN_PLACE, False)
    if view.ndim != 2 or view.shape[1] < 1:
        raise ValueError(f"logits: expected shape (rows, vocabulary), got {shape_of(view)}")
    arrays.rows_of(view, b"logits", &ld_logits)
    cdef int64_t rows = view.shape[0], vocabulary = view.shape[1]
    cdef const float *logits_ = <const float *>view.buf
    cdef const int32_t *targets_ = <const int32_t *>arrays.flat(targets, b"targets", rows, READ, True)
    cdef float *losses_ = <float *>arrays.flat(losses, b"losses", rows, WRITE, False)
    cdef float *dlogits_ = NULL
    if dlogits is not None:
        dlogits_ = arrays.matrix(dlogits, b"dlogits", rows, vocabulary, WRITE_IN_PLACE, &ld_dlogits)
    arrays.check_overlap()
    check_ids(targets_, rows, -1, vocabulary, "targets")
    with nogil:
        kernels.cross_entropy(losses_, dlogits_, ld_dlogits, logits_, ld_logits, targets_, gradient_scale, rows, vocabulary)
