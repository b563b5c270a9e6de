"""The peers' decoders on our feature maps. Only what turns maps into logits is theirs."""

from __future__ import annotations

from typing import ClassVar

from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.models.segmentation.lraspp import LRASPPHead

from skipstone.models.heads.dense import DenseHead, Features, skip_map_index


class _Peer(DenseHead):
    def __init__(
        self,
        options: None,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.channels, self.strides = channels, strides
        self.net = self.build(classes)

    def build(self, classes: int) -> nn.Module:
        raise NotImplementedError

    def decode(self, features: Features) -> Tensor:
        logits: Tensor = self.net(features[-1])
        return logits


class TorchvisionFcn(_Peer):
    """FCN-32s: torchvision has no finer one."""

    def build(self, classes: int) -> nn.Module:
        head: nn.Module = FCNHead(self.channels[-1], classes)
        return head


class TorchvisionDeepLab(_Peer):
    def build(self, classes: int) -> nn.Module:
        head: nn.Module = DeepLabHead(self.channels[-1], classes, (6, 12, 18))
        return head


class TorchvisionLraspp(_Peer):
    def build(self, classes: int) -> nn.Module:
        self.low = skip_map_index(self.strides, 8)
        head: nn.Module = LRASPPHead(self.channels[self.low], self.channels[-1], classes, 128)
        return head

    def decode(self, features: Features) -> Tensor:
        logits: Tensor = self.net({"low": features[self.low], "high": features[-1]})
        return logits


class SmpUnet(_Peer):
    def build(self, classes: int) -> nn.Module:
        decoder = UnetDecoder((3, *self.channels), (256, 128, 64, 32, 16))
        return nn.ModuleList([decoder, SegmentationHead(16, classes)])

    def decode(self, features: Features) -> Tensor:
        decoder, head = self.net.children()
        finest = features[0].repeat_interleave(2, 2).repeat_interleave(2, 3)  # its size is read
        logits: Tensor = head(decoder([finest, *features]))
        return logits


class SmpDeepLabPlus(_Peer):
    align_corners: ClassVar[bool] = True

    def build(self, classes: int) -> nn.Module:
        decoder = DeepLabV3PlusDecoder(
            encoder_channels=(3, *self.channels),
            encoder_depth=5,
            out_channels=256,
            atrous_rates=(6, 12, 18),
            output_stride=16,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        return nn.ModuleList([decoder, SegmentationHead(256, classes, kernel_size=1)])

    def decode(self, features: Features) -> Tensor:
        decoder, head = self.net.children()
        logits: Tensor = head(decoder([features[0], *features]))
        return logits
