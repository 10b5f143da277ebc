def layer_norm_forward(object out, object mean, object rstd, object x, object gain, object bias, float epsilon):
    cdef Arguments arrays = Arguments()
    cdef Py_buffer *view = arrays.take(gain, b"gain", READ, False)
    if view.ndim != 1 or view.shape[0] < 1:
        raise ValueError(f"gain: expected a vector of at least one column, got shape {shape_of(view)}")
    cdef int64_t columns = view.shape[0]
    cdef const float *gain_ = <const float *>view.buf
    if view.strides[0] != 4 and columns > 1:
        raise ValueError("gain: must be C-contiguous")
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    if arrays.views[1].len % (4 * columns):
        raise ValueError(f"x: shape {shape_of(&arrays.views[1])} has no rows of {columns} columns")
    cdef int64_t rows = arrays.views[1].len // (4 * columns)
    cdef const float *bias_ = <const float *>arrays.flat(bias, b"bias", columns, READ, False)
    cdef float *out_ = <float *>arrays.flat(out, b"out", rows * columns, WRITE_IN_PLACE, False)
    cdef float *mean_ = <float *>arrays.flat(mean, b"mean", rows, WRITE, False)
    cdef float *rstd_ = <float *>arrays.flat(rstd, b"rstd", rows, WRITE, False)
    arrays.check_overlap()
    with nogil:
        kernels.layer_norm_forward(out_, mean_, rstd_, x_, gain_, bias_, epsilon, rows, columns)


def layer_norm_backward(object dx, object dgain, object dbias, object dout, object x, object mean, object rstd, object gain,
                        object residual):
    cdef Arguments arrays = Arguments()
    cdef const float *gain_ = <const float *>arrays.flat(gain, b"gain", -1, READ, False)
    cdef int64_t columns = arrays.views[0].len // 4
    if columns < 1:
        raise ValueError("gain: expected at least one column")
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ, False)
    if arrays.views[1].len % (4 * columns):
        raise ValueError(f"x: shape {shape_of(&arrays.views[1])} has no rows of {columns} columns")
    cdef int64_t rows = arrays.views[1].len // (4 * columns)
    cdef const float *residual_ = NULL
    if residual is not None:
        residual_ = <const float *>arrays.flat(residual, b"residual", rows * columns, READ_IN_PLACE, False)
    cdef const float *dout_ = <const float *>arrays.flat(dout, b"dout", rows * columns, READ_IN_PLACE, False)
    cdef const float *mean_ = <const float *>arrays.flat(mean, b"mean", rows, READ, False)
    cdef const float *rstd_ = <const float *>arrays.flat(rstd, b"rstd", rows, READ, False)
    cdef float *dx_ = <float *>arrays.flat(dx, b"dx", rows * columns, WRITE_IN_PLACE, False)
    cdef float *dgain_ = <float *>arrays.flat(dgain, b"dgain", columns, WRITE, False)
    cdef float *dbias_ = <float *>arrays.flat(dbias, b"dbias", columns, WRITE, False)
    arrays.check_overlap()
    cdef int status
    with nogil:
        status = kernels.layer_norm_backward(dx_, dgain_, dbias_, dout_, x_, mean_, rstd_, gain_, residual_, rows, columns)
    finish(status)
