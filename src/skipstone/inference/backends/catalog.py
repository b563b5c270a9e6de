"""The runtimes by name. `runtime.open` calls their targets and defines the arguments."""

from __future__ import annotations

from skipstone.core.registry import Entry

ENTRIES = (
    Entry(
        "torch",
        "skipstone.inference.open_model:open_torch",
        summary="PyTorch, the network itself",
        source="https://pytorch.org",
        facts={"precisions": ["f32", "bf16"], "program": False},
    ),
    Entry(
        "onnxruntime",
        "skipstone.inference.open_model:open_onnxruntime",
        summary="ONNX Runtime on the CPU",
        source="https://onnxruntime.ai",
        facts={"precisions": ["f32"], "program": True, "export": "onnx"},
    ),
    Entry(
        "openvino",
        "skipstone.inference.open_model:open_openvino",
        summary="OpenVINO on the CPU",
        source="https://docs.openvino.ai",
        facts={"precisions": ["f32", "bf16", "int8"], "program": True, "export": "openvino"},
    ),
)
