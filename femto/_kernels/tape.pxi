# Recording calls of kernels instead of making them, and making recorded calls again (tape.h).

cdef extern from "tape.h" nogil:
    ctypedef double (*femto_clock)() noexcept nogil

    ctypedef struct femto_recorded:
        femto_call function
        void *arguments
        double started, seconds

    ctypedef struct femto_tape:
        femto_recorded *calls
        int64_t call_count

    int femto_run_parts(femto_tape **tapes, int64_t workers, int64_t parts, femto_clock clock)
    void *femto_recording()
    void femto_record(void *tape)
    bint femto_live(int64_t source, int64_t scale, int64_t offset, int64_t *now)
    bint femto_take(femto_tape *tape)
    void femto_leave(femto_tape *tape)


cdef double seconds_now() noexcept nogil:
    return perf_counter()


cdef class Live:
    """An integer that recorded calls read anew whenever their tape runs."""

    cdef int64_t number  # unless it follows another
    cdef Live base  # this is scale times it, and offset more; or None
    cdef int64_t scale, offset

    def __cinit__(self):
        self.scale = 1

    def __init__(self, value=0):
        self.number = value

    @property
    def value(self):
        return self.__index__()

    @value.setter
    def value(self, int64_t value):
        if self.base is not None:
            raise AttributeError("value: this number follows another, whose value is to be set")
        self.number = value

    def __index__(self):
        cdef int64_t now
        if femto_live(self.source(), self.scale, self.offset, &now):
            return now
        return <object>self.source() * <object>self.scale + <object>self.offset  # more than 64 bits

    def __add__(self, int64_t number):
        return self.following(self.scale, <object>self.offset + <object>number)

    def __mul__(self, int64_t number):
        return self.following(<object>self.scale * <object>number, <object>self.offset * <object>number)

    cdef int64_t source(self) noexcept:
        return self.number if self.base is None else self.base.number

    cdef Live following(self, int64_t scale, int64_t offset):
        cdef Live other = Live()
        other.base, other.scale, other.offset = (self if self.base is None else self.base), scale, offset
        return other

    def __repr__(self):
        return f"Live({self.__index__()})"


cdef struct LiveField:  # what a recorded call reads anew: an integer from lowest to highest
    int64_t lowest, highest
    char *place           # in the call's arguments
    int bytes             # that it has there: 4 or 8


cdef struct IdCheck:
    const int32_t *ids
    int64_t count, lowest, limit
    const char *name  # of the argument


cdef class Tape:
    """Calls of kernels, in order, with the arrays that they work on."""

    cdef femto_tape tape
    cdef LiveField *live_fields
    cdef IdCheck *id_checks
    cdef int64_t live_count, id_check_count
    cdef list live, live_names  # of each field
    cdef list held  # the Arguments of each call, which keep its memory alive

    def __cinit__(self):
        self.live, self.live_names, self.held = [], [], []

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.tape.call_count):
            free(self.tape.calls[i].arguments)
        free(self.tape.calls)
        free(self.live_fields)
        free(self.id_checks)

    def __len__(self):
        return self.tape.call_count

    def __repr__(self):
        return f"{type(self).__name__}(calls={self.tape.call_count})"

    def __enter__(self):
        if femto_recording() != NULL:
            raise RuntimeError("this thread records to another tape already" if femto_recording() != <void *>self else
                               "this thread records to this tape already")
        self.take()
        Py_INCREF(self)  # by the thread that records to it
        femto_record(<void *>self)
        return self

    def __exit__(self, *_):
        if femto_recording() != <void *>self:
            raise RuntimeError("this thread does not record to this tape")
        femto_record(NULL)
        femto_leave(&self.tape)
        Py_DECREF(self)

    cdef int take(self) except -1:
        if not femto_take(&self.tape):
            raise RuntimeError("this tape is in use: another thread, or a function further up, records to it or runs it; "
                               "or it is here twice")
        return 0

    cdef int add(self, Arguments arrays, femto_call function, const void *arguments, size_t size) except -1:
        cdef int64_t i, count = self.tape.call_count
        cdef LiveField *field
        self.tape.calls = <femto_recorded *>grown(self.tape.calls, count, sizeof(femto_recorded))
        for i in range(arrays.live_count):
            self.live_fields = <LiveField *>grown(self.live_fields, self.live_count + i, sizeof(LiveField))
        if arrays.ids.count > 0:
            self.id_checks = <IdCheck *>grown(self.id_checks, self.id_check_count, sizeof(IdCheck))
        cdef void *copy = grown(NULL, 0, size)
        try:
            self.live[self.live_count:] = arrays.live
            self.live_names[self.live_count:] = arrays.live_names
            self.held.append(arrays)
        except MemoryError:
            free(copy)
            raise
        # nothing fails from here on: a call is on the tape with all that belongs to it, or not at all
        memcpy(copy, arguments, size)
        for i in range(arrays.live_count):
            field = &self.live_fields[self.live_count + i]
            field[0] = arrays.live_fields[i]
            field.place = <char *>copy + (field.place - <char *>arguments)
        self.live_count += arrays.live_count
        if arrays.ids.count > 0:
            self.id_checks[self.id_check_count] = arrays.ids
            self.id_check_count += 1
        self.tape.calls[count].function, self.tape.calls[count].arguments = function, copy
        self.tape.calls[count].started = self.tape.calls[count].seconds = 0.0
        self.tape.call_count += 1
        return 0

    cdef int prepare(self, Tape checked) except -1:
        """Give the calls the live numbers of now; refuse those, and ids, that are out of range. checked: None, or a tape whose
        ids are known to be right."""
        cdef int64_t i, now
        cdef uint32_t low
        cdef LiveField *field
        cdef Live number
        cdef bint fits
        for i in range(self.live_count):
            field = &self.live_fields[i]
            number = self.live[i]
            fits = femto_live(number.source(), number.scale, number.offset, &now)
            if not fits or now < field.lowest or now > field.highest:
                integer(number, self.live_names[i], field.lowest, field.highest)
            low = <uint32_t>now
            memcpy(field.place, <void *>&low if field.bytes == 4 else <void *>&now, field.bytes)
        if (checked is not None and 0 < self.id_check_count == checked.id_check_count
                and not memcmp(checked.id_checks, self.id_checks, <size_t>self.id_check_count * sizeof(IdCheck))):
            return 0
        for i in range(self.id_check_count):
            require_ids(self.id_checks[i])
        return 0

    cdef int forget_times(self) except -1:
        cdef int64_t i
        for i in range(self.tape.call_count):
            self.tape.calls[i].started = 0.0
        return 0

    cdef int tell(self) except -1:
        """Tell the timing hook of the calls that were made."""
        cdef int64_t i
        cdef Arguments arrays
        for i in range(self.tape.call_count):
            if self.tape.calls[i].started > 0.0:
                arrays = self.held[i]
                arrays.tell(self.tape.calls[i].started, self.tape.calls[i].seconds)
        return 0

    def run(self):
        """Make the calls again."""
        run_parts([[self]])


cdef void *grown(void *memory, int64_t count, size_t size) except NULL:
    """Memory for one more element after `count`: doubled whenever that is a power of two."""
    if count > 0 and count & (count - 1):
        return memory
    cdef void *larger = realloc(memory, size * <size_t>(2 * count if count else 1))
    if larger == NULL:
        raise MemoryError("no memory to record a kernel's call")
    return larger


def run_parts(list tapes):
    """tapes[worker][part], lists: run every part once, on whichever worker is free."""
    cdef int64_t workers = len(tapes), parts, worker, taken = 0, i
    cdef femto_clock clock = NULL
    cdef int status
    cdef Tape tape
    cdef list each = []
    if femto_recording() != NULL:
        raise ValueError("the run of a tape cannot be recorded")
    if not workers:
        raise ValueError("tapes: expected those of at least one worker")
    parts = len(tapes[0])
    for worker in range(workers):
        if len(tapes[worker]) != parts:
            raise ValueError(f"tapes: worker {worker} has {len(tapes[worker])} parts, and worker 0 has {parts}")
        each += tapes[worker]
    for i in range(workers * parts):
        if not isinstance(each[i], Tape):
            raise TypeError(f"tapes: expected a Tape for each part of each worker, got {type(each[i]).__name__}")
    cdef femto_tape **pointers = <femto_tape **>grown(NULL, 0, sizeof(femto_tape *) * <size_t>(workers * parts + 1))
    try:
        for i in range(workers * parts):
            tape = each[i]
            tape.take()
            taken += 1
            pointers[i] = &tape.tape
        for i in range(workers * parts):
            tape = each[i]
            tape.prepare(None if i < parts else each[i - parts])
        if timing:
            clock = seconds_now
            for i in range(workers * parts):
                (<Tape>each[i]).forget_times()
        with nogil:
            status = femto_run_parts(pointers, workers, parts, clock)
        if status:
            raise MemoryError("no memory for a kernel's scratch space")
        if clock != NULL:
            for i in range(workers * parts):
                (<Tape>each[i]).tell()
    finally:
        for i in range(taken):
            femto_leave(pointers[i])
        free(pointers)
