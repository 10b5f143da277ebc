# Checks at the public edge: every array is a buffer of the right type, shape and stride before a kernel sees its pointer,
# and no output shares memory with another argument unless the kernel allows exactly that. Then the call, which is timed when a hook
# is set (timing.pxi).

cdef enum:
    MAX_ARGUMENTS = 12
    MAX_LIVE = 2

cdef int64_t LOWEST = -2**63, HIGHEST = 2**63 - 1
cdef int64_t MAX_FIRST = 2**40  # rows or sequences of a batch before the first of a call

cdef enum Access:
    READ            # must not overlap any output
    READ_IN_PLACE   # may be the very same memory as the output WRITE_IN_PLACE
    WRITE           # this one and the next are outputs
    WRITE_IN_PLACE


@cython.final
cdef class Arguments:
    """The arrays of one call: held until the call ends, then released.

    A kernel's function takes its arrays, which fills its struct, and then always goes:

        if arrays.call(femto_name_call, &p, sizeof(p)):
            arrays.report("name", {sizes by name}, (what is fused to it), floating-point operations)
    """

    cdef Py_buffer views[MAX_ARGUMENTS]
    cdef const char *names[MAX_ARGUMENTS]
    cdef Access access[MAX_ARGUMENTS]
    cdef int count
    cdef double started, stopped  # 0 when nobody wants to know
    cdef bint recorded
    cdef tuple description  # for the timing hook, of a recorded call: what `report` was given, and the bytes
    cdef list live, live_names
    cdef LiveField live_fields[MAX_LIVE]
    cdef int live_count
    cdef IdCheck ids  # what a tape checks again; count 0 if there is nothing

    def __cinit__(self):
        self.live, self.live_names = [], []

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])

    cdef Py_buffer *take(self, object array, const char *name, Access access, bint integer) except NULL:
        cdef Py_buffer *view = &self.views[self.count]
        cdef int flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if access >= WRITE else 0)
        try:
            PyObject_GetBuffer(array, view, flags)
        except (BufferError, ValueError, TypeError):
            if access >= WRITE and getattr(getattr(array, "dtype", None), "char", "") == "f":
                raise ValueError(f"{name.decode()}: read-only, but it is written to; pass a writable array, "
                                 f"such as {name.decode()}.copy()") from None
            raise other_type(array, name, access, integer) from None
        self.names[self.count] = name
        self.access[self.count] = access
        self.count += 1
        cdef char code = view.format[0] if view.format[0] != b"=" and view.format[0] != b"<" else view.format[1]
        if view.itemsize != 4 or not (code == b"f" if not integer else (code == b"i" or code == b"l")):
            raise other_type(array, name, access, integer)
        if <size_t>view.buf % 4:
            raise ValueError(f"{name.decode()}: memory is not aligned to 4 bytes{self.remedy('np.array')}")
        return view

    cdef str remedy(self, str copier):
        """How to come by what the last array should have been; `copier` makes it of an input."""
        if self.access[self.count - 1] >= WRITE:
            return "; it is written to, so pass an array that np.empty or np.zeros made"
        return f"; pass {copier}({self.names[self.count - 1].decode()})"

    cdef float *matrix(self, object array, const char *name, Py_ssize_t rows, Py_ssize_t columns, Access access,
                       int64_t *ld) except? NULL:
        """A (rows, columns) matrix whose rows are contiguous; `ld` receives the floats between rows."""
        cdef Py_buffer *view = self.take(array, name, access, False)
        if view.ndim != 2 or view.shape[0] != rows or view.shape[1] != columns:
            raise ValueError(f"{name.decode()}: expected shape ({rows}, {columns}), got {shape_of(view)}")
        self.rows_of(view, name, ld)
        return <float *>view.buf

    cdef int rows_of(self, Py_buffer *view, const char *name, int64_t *ld, int transpose=-1) except -1:
        """Check the rows of a matrix. `transpose` is whether a keyword transposes it, 0 or 1, or -1 where there is no keyword."""
        cdef str strides = f"strides ({view.strides[0]}, {view.strides[1]}) bytes" if not rows_fit(view) else None
        if strides is not None:
            if transpose >= 0 and view.strides[0] == 4 and view.strides[1] >= 4 * view.shape[0]:
                raise ValueError(f"{name.decode()}: a transposed view, whose rows are not contiguous ({strides}); pass what it "
                                 f"is the transpose of, with transpose_{name.decode()}={not transpose}, "
                                 f"or np.ascontiguousarray({name.decode()})")
            if view.shape[1] > 1 and view.strides[1] != 4:
                raise ValueError(f"{name.decode()}: rows must be contiguous, got {strides}{self.remedy('np.ascontiguousarray')}")
            raise ValueError(f"{name.decode()}: rows overlap or run backwards, got {strides} for {view.shape[1]} columns"
                             f"{self.remedy('np.ascontiguousarray')}")
        ld[0] = view.strides[0] // 4 if view.shape[0] > 1 else view.shape[1]
        return 0

    cdef void *flat(self, object array, const char *name, Py_ssize_t count, Access access, bint integer) except? NULL:
        """A C-contiguous array of `count` elements and any number of dimensions; count -1 takes any."""
        cdef Py_buffer *view = self.take(array, name, access, integer)
        self.contiguous(view, name)
        if count >= 0 and view.len != 4 * count:
            raise ValueError(f"{name.decode()}: expected {count} elements, got {view.len // 4} in shape {shape_of(view)}")
        return view.buf

    cdef int contiguous(self, Py_buffer *view, const char *name) except -1:
        if not PyBuffer_IsContiguous(view, b"C"):
            raise ValueError(f"{name.decode()}: must be C-contiguous{self.remedy('np.ascontiguousarray')}")
        return 0

    cdef int check_overlap(self) except -1:
        cdef int i, j
        for i in range(self.count):
            if self.access[i] < WRITE:
                continue
            for j in range(self.count):
                if j == i or (self.access[j] >= WRITE and j < i) or not overlap(&self.views[i], &self.views[j]):
                    continue
                if (self.access[i] == WRITE_IN_PLACE and self.access[j] == READ_IN_PLACE
                        and self.views[i].buf == self.views[j].buf and same_layout(&self.views[i], &self.views[j])):
                    continue
                raise ValueError(f"{self.names[i].decode()} shares memory with {self.names[j].decode()}; "
                                 f"pass another array as one of them")
        return 0

    cdef int64_t number(self, object value, str name, int64_t lowest, int64_t highest, void *field, int bytes) except? -1:
        """An integer of the struct, at `field`, of so many bytes; a Live one is read again by a tape."""
        cdef int64_t number = integer(value, name, lowest, highest)
        if isinstance(value, Live) and femto_recording() != NULL:
            if self.live_count == MAX_LIVE:
                raise ValueError(f"{name}: more than {MAX_LIVE} numbers of one call are live")
            self.live.append(value)
            self.live_names.append(name)
            self.live_fields[self.live_count].lowest, self.live_fields[self.live_count].highest = lowest, highest
            self.live_fields[self.live_count].place, self.live_fields[self.live_count].bytes = <char *>field, bytes
            self.live_count += 1
        return number

    cdef bint call(self, femto_call function, const void *arguments, size_t size) except -1:
        """Check for shared memory, then call the kernel, or record the call; returns whether it is to be reported."""
        cdef int status
        self.check_overlap()
        if femto_recording() != NULL:
            (<Tape>femto_recording()).add(self, function, arguments, size)
            self.recorded = True
            return True
        with nogil:
            if timing:
                self.started = perf_counter()
            status = function(arguments)
            if self.started > 0.0:
                self.stopped = perf_counter()
        if status:
            raise MemoryError("no memory for a kernel's scratch space")
        return self.started > 0.0

    cdef int report(self, str operation, dict sizes, tuple extras=(), double flops=0.0, str times=None) except -1:
        """Tell the timing hook of the call, or keep what a tape will tell it. Sizes may be Live.

        times: the size that the operations `flops` are to be multiplied by, if it may be Live.
        """
        cdef Py_ssize_t nbytes = 0
        cdef int i
        for i in range(self.count):
            nbytes += self.views[i].len
        self.description = (operation, sizes, extras, flops, nbytes, times)
        if not self.recorded:
            self.tell(self.started, self.stopped - self.started)
        return 0

    cdef int tell(self, double started, double seconds) except -1:
        """Tell the timing hook, with the sizes of now."""
        cdef object hook = timing_hook
        if hook is None or self.description is None:
            return 0
        operation, sizes, extras, flops, nbytes, times = self.description
        sizes = {name: index(size) for name, size in sizes.items()}
        hook(operation, sizes, extras, flops * sizes[times] if times else flops, nbytes, started, seconds)
        return 0


cdef object other_type(object array, const char *name, Access access, bint integer):
    """The TypeError for what is no array of the type that a kernel takes."""
    cdef str wanted = "int32" if integer else "float32"
    cdef str argument = name.decode()
    cdef object dtype = getattr(array, "dtype", None)
    cdef bint is_array = hasattr(dtype, "char") and hasattr(array, "astype") and hasattr(array, "strides")
    cdef str advice = f"pass {argument}.astype(np.{wanted})" if is_array else f"pass np.array({argument}, np.{wanted})"
    if access >= WRITE:
        advice = f"it is written to, so make it with np.empty or np.zeros, of np.{wanted}"
    if is_array:
        return TypeError(f"{argument}: expected {wanted}, got {dtype}; {advice}")
    return TypeError(f"{argument}: expected a NumPy array of {wanted}, got {type(array).__name__}; {advice}")


cdef bint rows_fit(Py_buffer *view) noexcept:
    """Whether the rows of a matrix are contiguous, and lie one after another without overlap."""
    if view.shape[1] > 1 and view.strides[1] != 4:
        return False
    return view.shape[0] <= 1 or (view.strides[0] >= 4 * view.shape[1] and view.strides[0] % 4 == 0)


cdef tuple shape_of(Py_buffer *view):
    return tuple([view.shape[i] for i in range(view.ndim)])


cdef bint same_layout(Py_buffer *a, Py_buffer *b) noexcept:
    cdef int i
    if a.len != b.len:
        return False
    if a.ndim == 2 and b.ndim == 2 and a.shape[0] > 1:
        return a.strides[0] == b.strides[0]
    return True


cdef bint overlap(Py_buffer *a, Py_buffer *b) noexcept:
    cdef char *end_a = <char *>a.buf
    cdef char *end_b = <char *>b.buf
    cdef int i
    if a.len == 0 or b.len == 0:
        return False
    for i in range(a.ndim):
        end_a += (a.shape[i] - 1) * a.strides[i]
    for i in range(b.ndim):
        end_b += (b.shape[i] - 1) * b.strides[i]
    if not (<char *>a.buf < end_b + 4 and <char *>b.buf < end_a + 4):
        return False
    cdef Py_ssize_t apart
    if a.ndim == 2 and b.ndim == 2 and a.shape[0] > 1 and b.shape[0] > 1 and a.strides[0] == b.strides[0]:
        # columns of one wider matrix: they lie between the same columns of every row
        apart = (<char *>b.buf - <char *>a.buf) % a.strides[0]
        if apart < 0:
            apart += a.strides[0]
        return apart < 4 * a.shape[1] or apart > a.strides[0] - 4 * b.shape[1]
    return True


cdef int64_t integer(object value, str name, int64_t lowest, int64_t highest) except? -1:
    cdef object number
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not lowest <= number <= highest:
        raise ValueError(f"{name}: expected from {lowest} to {highest}, got {number}")
    return number


cdef int set_dropout(femto_dropout_settings *dropout, Arguments arrays, double probability, object seed, object step,
                     object site) except -1:
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"dropout: expected 0 <= probability < 1, got {probability}")
    cdef uint64_t key = index(seed) & 0xFFFFFFFFFFFFFFFF
    dropout.seed[0] = <uint32_t>key
    dropout.seed[1] = <uint32_t>(key >> 32)
    dropout.stream[0] = <uint32_t>arrays.number(step, "step", LOWEST, HIGHEST, &dropout.stream[0], 4)
    dropout.stream[1] = index(site) & 0xFFFFFFFF
    dropout.scale = <float>(1.0 / (1.0 - probability))
    dropout.threshold = 65536
    if probability > 0.0:
        dropout.threshold = <uint32_t>max(1.0, min(65535.0, (1.0 - probability) * 65536.0 + 0.5))
    return 0
