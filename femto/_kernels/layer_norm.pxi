cdef extern from "layer_norm.h" nogil:
    ctypedef struct femto_layer_norm_forward_arguments:
        float *out
        float *mean
        float *rstd
        const float *x
        const float *gain
        const float *bias
        float epsilon
        int64_t rows, columns
    int femto_layer_norm_forward_call(const void *p)

    ctypedef struct femto_layer_norm_backward_arguments:
        float *dx
        float *dgain
        float *dbias
        const float *dout
        const float *x
        const float *mean
        const float *rstd
        const float *gain
        const float *residual
        int64_t rows, columns
    int femto_layer_norm_backward_call(const void *p)


def layer_norm_forward(object out, object mean, object rstd, object x, object gain, object bias, float epsilon):
    cdef Arguments arrays = Arguments()
    cdef femto_layer_norm_forward_arguments p
    cdef Py_buffer *view = arrays.take(gain, b"gain", READ, False)
    if view.ndim != 1 or view.shape[0] < 1:
        raise ValueError(f"gain: expected a vector of at least one column, got shape {shape_of(view)}")
    p.columns = view.shape[0]
    arrays.contiguous(view, b"gain")
    p.gain = <const float *>view.buf
    p.x = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    p.rows = rows_of_x(&arrays.views[1], p.columns)
    p.bias = <const float *>arrays.flat(bias, b"bias", p.columns, READ, False)
    p.out = <float *>arrays.flat(out, b"out", p.rows * p.columns, WRITE_IN_PLACE, False)
    p.mean = <float *>arrays.flat(mean, b"mean", p.rows, WRITE, False)
    p.rstd = <float *>arrays.flat(rstd, b"rstd", p.rows, WRITE, False)
    p.epsilon = epsilon
    if arrays.call(femto_layer_norm_forward_call, &p, sizeof(p)):
        arrays.report("layer_norm_forward", {"rows": p.rows, "columns": p.columns})


def layer_norm_backward(object dx, object dgain, object dbias, object dout, object x, object mean, object rstd, object gain,
                        object residual):
    cdef Arguments arrays = Arguments()
    cdef femto_layer_norm_backward_arguments p
    p.gain = <const float *>arrays.flat(gain, b"gain", -1, READ, False)
    p.columns = arrays.views[0].len // 4
    if p.columns < 1:
        raise ValueError("gain: expected at least one column")
    p.x = <const float *>arrays.flat(x, b"x", -1, READ, False)
    p.rows = rows_of_x(&arrays.views[1], p.columns)
    p.residual = NULL
    if residual is not None:
        p.residual = <const float *>arrays.flat(residual, b"residual", p.rows * p.columns, READ_IN_PLACE, False)
    p.dout = <const float *>arrays.flat(dout, b"dout", p.rows * p.columns, READ_IN_PLACE, False)
    p.mean = <const float *>arrays.flat(mean, b"mean", p.rows, READ, False)
    p.rstd = <const float *>arrays.flat(rstd, b"rstd", p.rows, READ, False)
    p.dx = <float *>arrays.flat(dx, b"dx", p.rows * p.columns, WRITE_IN_PLACE, False)
    p.dgain = <float *>arrays.flat(dgain, b"dgain", p.columns, WRITE, False)
    p.dbias = <float *>arrays.flat(dbias, b"dbias", p.columns, WRITE, False)
    if arrays.call(femto_layer_norm_backward_call, &p, sizeof(p)):
        arrays.report("layer_norm_backward", {"rows": p.rows, "columns": p.columns},
                      ("residual",) if p.residual != NULL else ())


cdef int64_t rows_of_x(Py_buffer *x, int64_t columns) except -1:
    if x.len % (4 * columns) or (x.ndim > 1 and x.shape[x.ndim - 1] != columns):
        raise ValueError(f"x: shape {shape_of(x)} has no rows of {columns} columns, as many as gain has")
    return x.len // (4 * columns)
