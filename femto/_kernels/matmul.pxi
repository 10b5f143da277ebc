cdef extern from "matmul.h" nogil:
    ctypedef struct femto_matmul_arguments:
        int64_t m, n, k
        const float *a
        int64_t a_row, a_column
        const float *b
        int64_t b_row, b_column
        float *c
        int64_t ldc
        const float *initial
        int64_t ld_initial
        const float *bias
        float *slope
        int64_t ld_slope
        const float *factor
        int64_t ld_factor
        float *column_sums
    int femto_matmul_call(const void *p)


def matmul(object out, object a, object b, bint transpose_a, bint transpose_b, object residual, object bias,
           object gelu_slope, object factor, object column_sums):
    cdef Arguments arrays = Arguments()
    cdef femto_matmul_arguments p
    cdef Py_buffer *view
    cdef int64_t ld, k_of_b
    p.initial = p.bias = NULL
    p.slope = NULL
    p.factor = NULL
    p.column_sums = NULL
    p.ld_initial = p.ld_slope = p.ld_factor = 0

    view = arrays.take(a, b"a", READ, False)
    if view.ndim != 2:
        raise ValueError(f"a: expected a matrix, got shape {shape_of(view)}")
    arrays.rows_of(view, b"a", &ld, transpose_a)
    p.a = <const float *>view.buf
    p.a_row = 1 if transpose_a else ld
    p.a_column = ld if transpose_a else 1
    p.m = view.shape[1 if transpose_a else 0]
    p.k = view.shape[0 if transpose_a else 1]

    view = arrays.take(b, b"b", READ, False)
    if view.ndim != 2:
        raise ValueError(f"b: expected a matrix, got shape {shape_of(view)}")
    arrays.rows_of(view, b"b", &ld, transpose_b)
    p.b = <const float *>view.buf
    p.b_row = 1 if transpose_b else ld
    p.b_column = ld if transpose_b else 1
    k_of_b = view.shape[1 if transpose_b else 0]
    p.n = view.shape[0 if transpose_b else 1]
    if k_of_b != p.k:
        raise ValueError(f"a and b: inner sizes differ, {p.k} and {k_of_b} (a {shape_of(&arrays.views[0])}"
                         f"{' transposed' if transpose_a else ''}, b {shape_of(view)}"
                         f"{' transposed' if transpose_b else ''})" + other_way(&arrays.views[0], view, transpose_a, transpose_b))

    p.c = arrays.matrix(out, b"out", p.m, p.n, WRITE_IN_PLACE, &p.ldc)
    if residual is not None:
        p.initial = arrays.matrix(residual, b"residual", p.m, p.n, READ_IN_PLACE, &p.ld_initial)
    if bias is not None:
        p.bias = <const float *>arrays.flat(bias, b"bias", p.n, READ, False)
    if gelu_slope is not None:
        p.slope = arrays.matrix(gelu_slope, b"gelu_slope", p.m, p.n, WRITE, &p.ld_slope)
    if factor is not None:
        p.factor = arrays.matrix(factor, b"factor", p.m, p.n, READ, &p.ld_factor)
    if column_sums is not None:
        if not transpose_a:
            raise ValueError("column_sums: only of a product with transpose_a, the gradient of weights")
        p.column_sums = <float *>arrays.flat(column_sums, b"column_sums", p.n, WRITE, False)
    if arrays.call(femto_matmul_call, &p, sizeof(p)):
        fused = {"transpose_a": transpose_a, "transpose_b": transpose_b, "residual": residual is not None,
                 "bias": bias is not None, "factor": factor is not None, "gelu_slope": gelu_slope is not None,
                 "column_sums": column_sums is not None}
        arrays.report("matmul", {"m": p.m, "n": p.n, "k": p.k}, tuple([name for name, given in fused.items() if given]),
                      2.0 * <double>p.m * <double>p.n * <double>p.k)


cdef str other_way(Py_buffer *a, Py_buffer *b, bint transpose_a, bint transpose_b):
    """The keyword that would make the inner sizes the same, if there is one."""
    if b.shape[0 if transpose_b else 1] == a.shape[0 if transpose_a else 1]:
        return f"; transpose_b={not transpose_b} fits"
    if a.shape[1 if transpose_a else 0] == b.shape[1 if transpose_b else 0]:
        return f"; transpose_a={not transpose_a} fits"
    return ""
