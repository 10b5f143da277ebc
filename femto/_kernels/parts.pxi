cdef extern from "parts.h" nogil:
    enum: FEMTO_MAX_PARTS

    ctypedef struct femto_set_zero_arguments:
        float *x
        int64_t count
    int femto_set_zero_call(const void *p)

    ctypedef struct femto_tree_sum_arguments:
        float *x
        int64_t ldx
        int64_t rows, columns
    int femto_tree_sum_call(const void *p)


def set_zero(object x):
    cdef Arguments arrays = Arguments()
    cdef femto_set_zero_arguments p
    p.x = <float *>arrays.flat(x, b"x", -1, WRITE, False)
    p.count = arrays.views[0].len // 4
    if arrays.call(femto_set_zero_call, &p, sizeof(p)):
        arrays.report("set_zero", {"count": p.count})


def tree_sum(object x):
    cdef Arguments arrays = Arguments()
    cdef femto_tree_sum_arguments p
    cdef Py_buffer *view = arrays.take(x, b"x", WRITE, False)
    if view.ndim != 2 or not 1 <= view.shape[0] <= FEMTO_MAX_PARTS or view.shape[0] & (view.shape[0] - 1):
        raise ValueError(f"x: expected a matrix of 1, 2, 4 … {FEMTO_MAX_PARTS} rows, got shape {shape_of(view)}")
    arrays.rows_of(view, b"x", &p.ldx)
    p.x, p.rows, p.columns = <float *>view.buf, view.shape[0], view.shape[1]
    if arrays.call(femto_tree_sum_call, &p, sizeof(p)):
        arrays.report("tree_sum", {"rows": p.rows, "columns": p.columns})
