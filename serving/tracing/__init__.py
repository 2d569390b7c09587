"""One trace for each request, sent in the background; losing one never costs a request."""

from serving.tracing.config import TracingConfig
from serving.tracing.trace import InferenceTrace
from serving.tracing.tracer import Tracer

__all__ = ["InferenceTrace", "Tracer", "TracingConfig"]
