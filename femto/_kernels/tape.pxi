# Recording calls of kernels instead of making them, and making recorded calls again (tape.h).

cdef extern from "tape.h" nogil:
    ctypedef double (*femto_clock)() noexcept nogil

    ctypedef struct femto_recorded:
        femto_call function
        void *arguments
        double started, seconds

    ctypedef struct femto_live:
        const int64_t *source
        int64_t offset, lowest, highest
        char *field
        int64_t bytes

    ctypedef struct femto_tape:
        femto_recorded *calls
        femto_live *live
        int64_t call_count, live_count

    int femto_run_tape(const femto_tape *tape, femto_clock clock)
    int femto_run_parts(femto_tape **tapes, int64_t workers, int64_t parts, femto_clock clock)
    void *femto_recording()
    void femto_record(void *tape)


cdef double seconds_now() noexcept nogil:
    return perf_counter()


cdef class Live:
    """An integer that recorded calls read anew whenever their tape runs."""

    cdef public int64_t value
    cdef Live base  # what this is so much more than, or None
    cdef int64_t offset

    def __init__(self, value=0):
        self.value = value

    def __index__(self):
        return self.value if self.base is None else self.base.value + self.offset

    def __add__(self, int64_t number):
        cdef Live more = Live()
        more.base, more.offset = (self if self.base is None else self.base), self.offset + number
        return more

    def __repr__(self):
        return f"Live({self.__index__()})"


cdef struct LiveLimits:
    int64_t lowest, highest


cdef struct IdCheck:
    const int32_t *ids
    int64_t count, lowest, limit


cdef class Tape:
    """Calls of kernels, in order, with the arrays that they work on."""

    cdef femto_tape tape
    cdef IdCheck *id_checks
    cdef int64_t id_check_count
    cdef list live_names
    cdef list held          # what keeps the memory of the calls alive
    cdef list descriptions  # a call's operation, sizes, extras, operations and bytes, for the timing hook

    def __cinit__(self):
        self.live_names, self.held, self.descriptions = [], [], []

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.tape.call_count):
            free(self.tape.calls[i].arguments)
        free(self.tape.calls)
        free(self.tape.live)
        free(self.id_checks)

    def __len__(self):
        return self.tape.call_count

    def __enter__(self):
        if femto_recording() != NULL:
            raise RuntimeError("this thread records to another tape already")
        femto_record(<void *>self)
        return self

    def __exit__(self, *_):
        femto_record(NULL)

    cdef int add(self, Arguments arrays, femto_call function, const void *arguments, size_t size) except -1:
        cdef int64_t i, count = self.tape.call_count
        cdef femto_recorded *call
        cdef femto_live *live
        cdef Live number
        self.tape.calls = <femto_recorded *>grown(self.tape.calls, count, sizeof(femto_recorded))
        call = &self.tape.calls[count]
        call.arguments = grown(NULL, 0, size)
        call.function = function
        call.started = call.seconds = 0.0
        memcpy(call.arguments, arguments, size)
        self.tape.call_count += 1
        for i in range(arrays.live_count):
            self.tape.live = <femto_live *>grown(self.tape.live, self.tape.live_count, sizeof(femto_live))
            live = &self.tape.live[self.tape.live_count]
            number = arrays.live[i]
            live.source = &number.value if number.base is None else &number.base.value
            live.offset = number.offset
            live.field = <char *>call.arguments + (<char *>arrays.live_fields[i] - <char *>arguments)
            live.bytes = arrays.live_bytes[i]
            live.lowest, live.highest = arrays.limits[i].lowest, arrays.limits[i].highest
            self.live_names.append(arrays.live_names[i])
            self.tape.live_count += 1
        self.held.append(arrays)
        self.descriptions.append(None)
        return 0

    cdef int add_id_check(self, IdCheck check) except -1:
        self.id_checks = <IdCheck *>grown(self.id_checks, self.id_check_count, sizeof(IdCheck))
        self.id_checks[self.id_check_count] = check
        self.id_check_count += 1
        return 0

    cdef int check(self) except -1:
        """Refuse ids and live numbers that are out of range now."""
        cdef int64_t i
        cdef int64_t now
        cdef femto_live *live
        for i in range(self.tape.live_count):
            live = &self.tape.live[i]
            now = live.source[0] + live.offset
            if now < live.lowest or now > live.highest:
                integer(now, self.live_names[i], live.lowest, live.highest)
        for i in range(self.id_check_count):
            require_ids(self.id_checks[i], "ids")
        return 0

    cdef int forget_times(self) except -1:
        cdef int64_t i
        for i in range(self.tape.call_count):
            self.tape.calls[i].started = 0.0
        return 0

    cdef int report(self) except -1:
        """Tell the timing hook of the calls that were made."""
        cdef object hook = timing_hook
        cdef int64_t i
        for i in range(self.tape.call_count):
            if hook is not None and self.tape.calls[i].started > 0.0:
                hook(*self.descriptions[i], self.tape.calls[i].started, self.tape.calls[i].seconds)
        return 0

    def run(self):
        """Make the calls again."""
        run_parts([[self]])


cdef void *grown(void *memory, int64_t count, size_t size) except NULL:
    """Memory for one more element after `count`: doubled whenever that is a power of two."""
    if count & (count - 1) if count else False:
        return memory
    cdef void *larger = realloc(memory, size * <size_t>(2 * count if count else 1))
    if larger == NULL:
        raise MemoryError("no memory to record a kernel's call")
    return larger


def run_parts(list tapes):
    """tapes[worker][part]: run every part once, on whichever worker is free."""
    cdef int64_t workers = len(tapes), parts = len(tapes[0]), worker, part
    cdef femto_clock clock = NULL
    cdef int status
    cdef Tape tape
    if timing:
        clock = seconds_now
    cdef femto_tape **pointers = <femto_tape **>grown(NULL, 0, sizeof(femto_tape *) * <size_t>(workers * parts))
    try:
        for worker in range(workers):
            for part in range(parts):
                tape = tapes[worker][part]
                if worker == 0:
                    tape.check()
                if clock != NULL:
                    tape.forget_times()
                pointers[worker * parts + part] = &tape.tape
        with nogil:
            status = femto_run_parts(pointers, workers, parts, clock)
    finally:
        free(pointers)
    if status:
        raise MemoryError("no memory for a kernel's scratch space")
    if clock != NULL:
        for worker in range(workers):
            for part in range(parts):
                (<Tape>tapes[worker][part]).report()
