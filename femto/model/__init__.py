"""A GPT: its tensors in one flat buffer, the layers, and the graph that computes logits, losses and gradients."""

from femto.model.graph import Decoder, Graph
from femto.model.layout import ParameterLayout, layout_size
from femto.model.parameters import Model, count_parameters, sha256

__all__ = ["Decoder", "Graph", "Model", "ParameterLayout", "count_parameters", "layout_size", "sha256"]
