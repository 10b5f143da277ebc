"""A GPT: its tensors in one flat buffer, the layers, and the graph that computes logits, losses and gradients."""

from femto.model.graph import Decoder, Graph, activation_floats
from femto.model.layout import ParameterLayout, layout_size
from femto.model.parameters import Model, sha256
from femto.model.tensors import count_parameters

__all__ = ["Decoder", "Graph", "Model", "ParameterLayout", "activation_floats", "count_parameters", "layout_size", "sha256"]
