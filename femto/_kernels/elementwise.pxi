cdef extern from "elementwise.h" nogil:
    ctypedef struct femto_gelu_forward_arguments:
        float *out
        const float *x
        int64_t count
    int femto_gelu_forward_call(const void *p)

    ctypedef struct femto_gelu_backward_arguments:
        float *dx
        const float *dout
        const float *x
        int64_t count
    int femto_gelu_backward_call(const void *p)

    ctypedef struct femto_exponential_arguments:
        float *out
        const float *x
        int64_t count
    int femto_exponential_call(const void *p)

    ctypedef struct femto_dropout_arguments:
        float *out
        const float *x
        const float *residual
        int64_t rows, columns
        int64_t first_row
        femto_dropout_settings dropout
    int femto_dropout_call(const void *p)

    ctypedef struct femto_sum_of_squares_arguments:
        double *total
        const float *x
        int64_t count
    int femto_sum_of_squares_call(const void *p)

    ctypedef struct femto_adamw_arguments:
        float *parameters
        float *m
        float *v
        const float *gradients
        int64_t count
        int64_t step
        double beta1, beta2
        float gradient_scale, learning_rate, epsilon, weight_decay
    int femto_adamw_call(const void *p)

    ctypedef struct femto_fma_burn_arguments:
        double *flops
        int64_t iterations
    int femto_fma_burn_call(const void *p)


cdef int cannot_be_recorded(str name) except -1:
    if femto_recording() != NULL:
        raise ValueError(f"{name}: returns a number, so it cannot be recorded")
    return 0


def gelu_forward(object out, object x):
    cdef Arguments arrays = Arguments()
    cdef femto_gelu_forward_arguments p
    p.x = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    p.count = arrays.views[0].len // 4
    p.out = <float *>arrays.flat(out, b"out", p.count, WRITE_IN_PLACE, False)
    if arrays.call(femto_gelu_forward_call, &p, sizeof(p)):
        arrays.report("gelu_forward", {"count": p.count})


def gelu_backward(object dx, object dout, object x):
    cdef Arguments arrays = Arguments()
    cdef femto_gelu_backward_arguments p
    p.x = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    p.count = arrays.views[0].len // 4
    p.dout = <const float *>arrays.flat(dout, b"dout", p.count, READ_IN_PLACE, False)
    p.dx = <float *>arrays.flat(dx, b"dx", p.count, WRITE_IN_PLACE, False)
    if arrays.call(femto_gelu_backward_call, &p, sizeof(p)):
        arrays.report("gelu_backward", {"count": p.count})


def exponential(object out, object x):
    cdef Arguments arrays = Arguments()
    cdef femto_exponential_arguments p
    p.x = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    p.count = arrays.views[0].len // 4
    p.out = <float *>arrays.flat(out, b"out", p.count, WRITE_IN_PLACE, False)
    if arrays.call(femto_exponential_call, &p, sizeof(p)):
        arrays.report("exponential", {"count": p.count})


def dropout(object out, object x, object residual, int64_t columns, double probability, object seed, object step,
            object site, object first_row):
    cdef Arguments arrays = Arguments()
    cdef femto_dropout_arguments p
    p.first_row = arrays.number(first_row, "first_row", 0, MAX_FIRST, &p.first_row, 8)
    set_dropout(&p.dropout, arrays, probability, seed, step, site)
    p.x = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    cdef int64_t count = arrays.views[0].len // 4
    if columns < 1 or count % columns:
        raise ValueError(f"x: {count} elements are not rows of {columns} columns")
    p.rows, p.columns = count // columns, columns
    p.residual = NULL
    if residual is not None:
        p.residual = <const float *>arrays.flat(residual, b"residual", count, READ_IN_PLACE, False)
    p.out = <float *>arrays.flat(out, b"out", count, WRITE_IN_PLACE, False)
    if arrays.call(femto_dropout_call, &p, sizeof(p)):
        arrays.report("dropout", {"rows": p.rows, "columns": columns}, ("residual",) if p.residual != NULL else ())


def sum_of_squares(object x):
    cdef Arguments arrays = Arguments()
    cannot_be_recorded("sum_of_squares")
    cdef femto_sum_of_squares_arguments p
    cdef double total = 0.0
    p.total = &total
    p.x = <const float *>arrays.flat(x, b"x", -1, READ, False)
    p.count = arrays.views[0].len // 4
    if arrays.call(femto_sum_of_squares_call, &p, sizeof(p)):
        arrays.report("sum_of_squares", {"count": p.count})
    return total


def adamw(object parameters, object m, object v, object gradients, float gradient_scale, float learning_rate, double beta1,
          double beta2, float epsilon, float weight_decay, object step):
    cdef Arguments arrays = Arguments()
    cdef femto_adamw_arguments p
    p.parameters = <float *>arrays.flat(parameters, b"parameters", -1, WRITE, False)
    p.count = arrays.views[0].len // 4
    p.m = <float *>arrays.flat(m, b"m", p.count, WRITE, False)
    p.v = <float *>arrays.flat(v, b"v", p.count, WRITE, False)
    p.gradients = <const float *>arrays.flat(gradients, b"gradients", p.count, READ, False)
    p.step = integer(step, "adamw: step", 0, 2**62)
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0):
        raise ValueError(f"adamw: expected betas in [0, 1), got {beta1} and {beta2}")
    p.beta1, p.beta2 = beta1, beta2
    p.gradient_scale, p.learning_rate, p.epsilon, p.weight_decay = gradient_scale, learning_rate, epsilon, weight_decay
    if arrays.call(femto_adamw_call, &p, sizeof(p)):
        arrays.report("adamw", {"count": p.count})


def fma_burn(object iterations):
    cdef Arguments arrays = Arguments()
    cannot_be_recorded("fma_burn")
    cdef femto_fma_burn_arguments p
    cdef double flops = 0.0
    p.flops = &flops
    p.iterations = integer(iterations, "iterations", 1, 2**40)
    if arrays.call(femto_fma_burn_call, &p, sizeof(p)):
        arrays.report("fma_burn", {"iterations": p.iterations}, (), flops)
    return flops
