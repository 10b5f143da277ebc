from numpy import float32, int32
from numpy.typing import NDArray

_Floats = NDArray[float32]
_Integers = NDArray[int32]

def isa() -> str: ...
def supported_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def has_openmp() -> bool: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def matmul(
    out: _Floats,
    a: _Floats,
    b: _Floats,
    transpose_a: bool,
    transpose_b: bool,
    residual: _Floats | None,
    bias: _Floats | None,
    gelu_slope: _Floats | None,
    factor: _Floats | None,
    column_sums: _Floats | None,
) -> None: ...
def layer_norm_forward(
    out: _Floats, mean: _Floats, rstd: _Floats, x: _Floats, gain: _Floats, bias: _Floats, epsilon: float
) -> None: ...
def layer_norm_backward(
    dx: _Floats,
    dgain: _Floats,
    dbias: _Floats,
    dout: _Floats,
    x: _Floats,
    mean: _Floats,
    rstd: _Floats,
    gain: _Floats,
    residual: _Floats | None,
) -> None: ...
def attention_forward(
    out: _Floats,
    row_max: _Floats,
    row_scale: _Floats,
    qkv: _Floats,
    batch: int,
    tokens: int,
    heads: int,
    head_size: int,
    dropout: float,
    seed: int,
    step: int,
    site: int,
    first_sequence: int,
) -> None: ...
def attention_backward(
    d_qkv: _Floats,
    d_out: _Floats,
    out: _Floats,
    row_max: _Floats,
    row_scale: _Floats,
    qkv: _Floats,
    batch: int,
    tokens: int,
    heads: int,
    head_size: int,
    dropout: float,
    seed: int,
    step: int,
    site: int,
    first_sequence: int,
) -> None: ...
def attention_decode(
    out: _Floats,
    query: _Floats,
    keys: _Floats,
    values: _Floats,
    heads: int,
    head_size: int,
    length: int,
    capacity: int,
) -> None: ...
def rotary(x: _Floats, cosine: _Floats, sine: _Floats, tokens: int, heads: int, head_size: int, inverse: bool) -> None: ...
def embedding_forward(out: _Floats, table: _Floats, positions: _Floats | None, tokens: _Integers, context: int) -> None: ...
def embedding_backward(dtable: _Floats, dpositions: _Floats | None, dout: _Floats, tokens: _Integers, context: int) -> None: ...
def cross_entropy(
    losses: _Floats, dlogits: _Floats | None, logits: _Floats, targets: _Integers, gradient_scale: float
) -> None: ...
def gelu_forward(out: _Floats, x: _Floats) -> None: ...
def gelu_backward(dx: _Floats, dout: _Floats, x: _Floats) -> None: ...
def exponential(out: _Floats, x: _Floats) -> None: ...
def dropout(
    out: _Floats,
    x: _Floats,
    residual: _Floats | None,
    columns: int,
    probability: float,
    seed: int,
    step: int,
    site: int,
    first_row: int,
) -> None: ...
def sum_of_squares(x: _Floats) -> float: ...
def adamw(
    parameters: _Floats,
    m: _Floats,
    v: _Floats,
    gradients: _Floats,
    gradient_scale: float,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
) -> None: ...
def fma_burn(iterations: int) -> float: ...
