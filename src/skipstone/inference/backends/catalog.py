"""The runtimes by name. `inference.open_model` calls their targets and defines the arguments."""

from __future__ import annotations

from skipstone.core.specs import RuntimeSpec

ENTRIES = (
    RuntimeSpec(
        "torch",
        "skipstone.inference.open_model:open_torch",
        summary="PyTorch, the network itself",
        source="https://pytorch.org",
        precisions=("f32", "bf16"),
        needs_program=False,
    ),
    RuntimeSpec(
        "onnxruntime",
        "skipstone.inference.open_model:open_onnxruntime",
        summary="ONNX Runtime on the CPU",
        source="https://onnxruntime.ai",
        precisions=("f32",),
        needs_program=True,
        export_format="onnx",
    ),
    RuntimeSpec(
        "openvino",
        "skipstone.inference.open_model:open_openvino",
        summary="OpenVINO on the CPU",
        source="https://docs.openvino.ai",
        precisions=("f32", "bf16", "int8"),
        needs_program=True,
        export_format="openvino",
    ),
)
