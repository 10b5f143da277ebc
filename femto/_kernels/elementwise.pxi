def gelu_forward(object out, object x):
    cdef Arguments arrays = Arguments()
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    cdef int64_t count = arrays.views[0].len // 4
    cdef float *out_ = <float *>arrays.flat(out, b"out", count, WRITE_IN_PLACE, False)
    arrays.check_overlap()
    with nogil:
        kernels.gelu_forward(out_, x_, count)


def gelu_backward(object dx, object dout, object x):
    cdef Arguments arrays = Arguments()
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    cdef int64_t count = arrays.views[0].len // 4
    cdef const float *dout_ = <const float *>arrays.flat(dout, b"dout", count, READ_IN_PLACE, False)
    cdef float *dx_ = <float *>arrays.flat(dx, b"dx", count, WRITE_IN_PLACE, False)
    arrays.check_overlap()
    with nogil:
        kernels.gelu_backward(dx_, dout_, x_, count)


def exponential(object out, object x):
    cdef Arguments arrays = Arguments()
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    cdef int64_t count = arrays.views[0].len // 4
    cdef float *out_ = <float *>arrays.flat(out, b"out", count, WRITE_IN_PLACE, False)
    arrays.check_overlap()
    with nogil:
        kernels.exponential(out_, x_, count)


def dropout(object out, object x, object residual, int64_t columns, double probability, object seed, object step,
            object site, object first_row):
    cdef Arguments arrays = Arguments()
    cdef femto_dropout settings
    cdef int status
    cdef int64_t first = integer(first_row, "first_row", 0, MAX_FIRST)
    set_dropout(&settings, probability, seed, step, site)
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ_IN_PLACE, False)
    cdef int64_t count = arrays.views[0].len // 4
    if columns < 1 or count % columns:
        raise ValueError(f"x: {count} elements are not rows of {columns} columns")
    cdef const float *residual_ = NULL
    if residual is not None:
        residual_ = <const float *>arrays.flat(residual, b"residual", count, READ_IN_PLACE, False)
    cdef float *out_ = <float *>arrays.flat(out, b"out", count, WRITE_IN_PLACE, False)
    arrays.check_overlap()
    with nogil:
        status = kernels.dropout(out_, x_, residual_, &settings, first, count // columns, columns)
    finish(status)


def sum_of_squares(object x):
    cdef Arguments arrays = Arguments()
    cdef const float *x_ = <const float *>arrays.flat(x, b"x", -1, READ, False)
    cdef int64_t count = arrays.views[0].len // 4, i
    cdef int64_t blocks = (count + FEMTO_SQUARES_BLOCK - 1) // FEMTO_SQUARES_BLOCK
    cdef double total = 0.0
    cdef double *partials = <double *>PyMem_RawMalloc((blocks + 1) * sizeof(double))
    if partials == NULL:
        raise MemoryError("no memory for the partial sums of sum_of_squares")
    with nogil:
        kernels.sum_of_squares(partials, x_, count)
        for i in range(blocks):
            total += partials[i]
    PyMem_RawFree(partials)
    return total


cdef double power(double base, int64_t exponent) noexcept:
    """By squaring: the pow of one C library rounds otherwise than that of another."""
    cdef double result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def adamw(object parameters, object m, object v, object gradients, float gradient_scale, float learning_rate, double beta1,
          double beta2, float epsilon, float weight_decay, object step):
    cdef Arguments arrays = Arguments()
    cdef float *parameters_ = <float *>arrays.flat(parameters, b"parameters", -1, WRITE, False)
    cdef int64_t count = arrays.views[0].len // 4
    cdef float *m_ = <float *>arrays.flat(m, b"m", count, WRITE, False)
    cdef float *v_ = <float *>arrays.flat(v, b"v", count, WRITE, False)
    cdef const float *gradients_ = <const float *>arrays.flat(gradients, b"gradients", count, READ, False)
    cdef int64_t steps = integer(step, "adamw: step", 0, 2**62) + 1
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0):
        raise ValueError(f"adamw: expected betas in [0, 1), got {beta1} and {beta2}")
    arrays.check_overlap()
    cdef double correction1 = 1.0 - power(beta1, steps), correction2 = 1.0 - power(beta2, steps)
    with nogil:
        kernels.adamw(parameters_, m_, v_, gradients_, count, gradient_scale, learning_rate, <float>beta1, <float>beta2,
                      epsilon, weight_decay, correction1, correction2)


cdef struct Burn:
    int64_t iterations
    double flops


cdef void burn_task(void *arguments, int64_t index) noexcept nogil:
    cdef Burn *burn = <Burn *>arguments
    cdef double flops = kernels.fma_burn(burn.iterations)
    if index == 0:
        burn.flops = flops


def fma_burn(int64_t iterations):
    cdef Burn burn
    cdef int threads = femto_get_threads()
    burn.iterations = iterations
    burn.flops = 0.0
    with nogil:
        femto_parallel_for(threads, 1e9, burn_task, &burn)
    return burn.flops * threads
