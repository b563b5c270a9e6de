"""Foreign weights: what is loaded, what is refused, and that it then answers as the original."""

import pickle

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.core.registry import BACKBONES, HEADS
from skipstone.models.build import export_tensors, recommend_options
from skipstone.models.checkpoint_loading import adapt_channels, load_published
from skipstone.models.heads.base import LinearHead
from skipstone.models.heads.options import LinearOptions
from skipstone.models.network import Network
from skipstone.models.weights import (
    load_pretrained_state,
    load_weights,
    pretrained_info,
    read_weights,
)
from skipstone.training.run_directory import RunFolder
from skipstone.training.train_output import journal_weights

CLASSES = 7


class Pass(nn.Module):
    """A front that hands the array on."""

    def forward(self, x):
        return x["image"]


EXAMPLE = {"image": torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))}


def network(name, in_channels=3, classes=CLASSES, **options):
    torch.manual_seed(1)
    entry = BACKBONES[name]
    chosen = recommend_options(entry, name, HEADS["linear"], options)
    backbone = entry.load()(name, chosen, in_channels=in_channels)
    head = LinearHead(
        LinearOptions(),
        channels=backbone.channels,
        strides=backbone.strides,
        classes=classes,
    )
    return Network(front=Pass(), backbone=backbone, head=head).eval()


def answer(net, x):
    with torch.no_grad():
        return net({"image": x})["logits"]


def foreign_resnet(classes=CLASSES):
    """torchvision's, with running statistics that are not a fresh network's."""
    torch.manual_seed(2)
    net = torchvision.models.resnet18(num_classes=classes)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture(scope="module")
def resnet():
    return foreign_resnet()


@pytest.fixture(scope="module")
def lite0():
    return load_pretrained_state("efficientnet_lite0")


@pytest.fixture
def notes():
    heard = []
    with events.use_listener(heard.append):
        yield heard


def notes_text(notes):
    return " ".join(event.text for event in notes if isinstance(event, events.Note))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.model."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_with_any_prefix_and_nesting_it_answers_as_the_original(tmp_path, resnet, prefix, nest):
    state = {f"{prefix}{name}": tensor for name, tensor in resnet.state_dict().items()}
    torch.save({nest: state, "epoch": 3} if nest else state, tmp_path / "w.pth")
    net = network("resnet18")
    report = load_weights(net, name="resnet18", weights=str(tmp_path / "w.pth"), example=EXAMPLE)
    assert report.fraction_of_backbone == 1
    assert (report.unmatched_in_file, report.missing_in_model, report.shape_mismatch) == ((),) * 3
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(answer(net, x), resnet(x))


def test_safetensors_of_half_precision(tmp_path, resnet):
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in resnet.state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    net = network("resnet18")
    load_weights(net, name="resnet18", weights=str(tmp_path / "w.safetensors"), example=EXAMPLE)
    weight = net.backbone.conv1.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["conv1.weight"].float())


def test_a_timm_file_fits_timms_network(tmp_path):
    theirs = timm.create_model("test_efficientnet", num_classes=CLASSES).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    net = network("timm/test_efficientnet")
    load_weights(
        net, name="timm/test_efficientnet", weights=str(tmp_path / "w.pt"), example=EXAMPLE
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(answer(net, x), theirs(x))


def test_our_own_state_dict_can_be_loaded_again(notes):
    trained, net = network("timm/test_efficientnet"), network("timm/test_efficientnet")
    for parameter in trained.parameters():
        parameter.data.add_(0.01)
    report = load_published(
        net, trained.state_dict(), where="runs/001", example=EXAMPLE, of_skipstone=True
    )
    assert report.unmatched_in_file == ()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(answer(net, x), answer(trained, x))


def bundle_for(classes, folder):
    """(what `folder` holds now, its task): a network of untrained weights for these classes."""
    trained = network("resnet20", classes=len(classes))
    task = {
        "name": "classify",
        "options": {},
        "schema": {"classes": classes, "counts": [1] * len(classes)},
    }
    Bundle(
        arch=Arch(ComponentConfig("resnet20"), ComponentConfig("linear")),
        input={"name": "image", "options": {}, "state": {}},
        task=task,
        tensors=export_tensors(trained),
    ).save(folder)
    return trained, task


def test_a_bundle_gives_its_weights(tmp_path):
    trained, _ = bundle_for(list("abcdefg"), tmp_path / "run" / "bundle")
    net = network("resnet20", classes=3)
    report = load_weights(net, name="resnet20", weights=str(tmp_path / "run"), example=EXAMPLE)
    assert report.fraction_of_backbone == 1
    assert "7 classes ignored" in report.classifier
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net.backbone(x)[-1], trained.backbone(x)[-1])


@pytest.mark.parametrize(
    "theirs", [["cat", "dog", "fish"], ["cat", "fish", "dog"], ["a", "b", "c"]]
)
def test_a_model_gives_its_classifier_only_for_the_same_classes(tmp_path, notes, theirs):
    trained, task = bundle_for(theirs, tmp_path / "bundle")
    ours = ["cat", "dog", "fish"]
    net = network("resnet20", classes=3)
    before = net.head.linear.weight.clone()
    answers = {
        **task,
        "options": {"label_smoothing": 0.1},
        "schema": {"classes": ours, "counts": [9, 9, 9]},
    }
    report = load_weights(
        net, name="resnet20", weights=str(tmp_path / "bundle"), example=EXAMPLE, task_record=answers
    )
    assert report.fraction_of_backbone == 1
    same = theirs == ours
    assert torch.equal(net.head.linear.weight, trained.head.linear.weight if same else before)
    assert ("is for other classes" in notes_text(notes)) != same


def test_a_classifier_for_other_classes_is_ignored_and_that_is_said(notes):
    net = network("resnet18", classes=3)
    before = net.head.linear.weight.clone()
    report = load_published(
        net, foreign_resnet(classes=1000).state_dict(), where="w.pth", example=EXAMPLE
    )
    assert torch.equal(net.head.linear.weight, before)
    assert "classifier of 1000 classes ignored" in report.classifier
    assert report.classifier in notes_text(notes)
    assert report.unmatched_in_file == ()
    assert len([event for event in notes if isinstance(event, events.Note)]) == 1


def test_some_missing_tensors_are_named(notes, resnet):
    state = resnet.state_dict()
    for name in ("layer4.1.bn2.weight", "layer4.1.bn2.bias"):
        state[f"extra.{name}"] = state.pop(name)
    report = load_published(network("resnet18"), state, where="w.pth", example=EXAMPLE)
    assert report.missing_in_model == ("layer4.1.bn2.weight", "layer4.1.bn2.bias")
    assert report.unmatched_in_file == ("extra.layer4.1.bn2.weight", "extra.layer4.1.bn2.bias")
    assert report.fraction_of_backbone == pytest.approx(98 / 100)
    assert "missing: layer4.1.bn2.weight" in notes_text(notes)


def test_below_nine_tenths_nothing_is_loaded_and_names_are_listed(resnet):
    state = {
        f"encoder.{name}" if name.startswith("layer4") else name: tensor
        for name, tensor in resnet.state_dict().items()
    }
    net = network("resnet18")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UsageError, match=r"75% of .* encoder\.layer4\.0\.conv1\.weight"):
        load_published(net, state, where="w.pth", example=EXAMPLE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_every_name_without_a_place_is_in_the_journal(resnet, notes, tmp_path):
    state = {f"mine.{n}" if "bn2" in n else n: t for n, t in resnet.state_dict().items()}
    lost = [name for name in state if name.startswith("mine.")]
    with RunFolder(tmp_path / "001") as run:
        place = f"all in {tmp_path / '001' / 'journal.jsonl'}"
        for _ in range(2):  # begun, and resumed
            with pytest.raises(UsageError, match=f"and {len(lost) - 5} more") as caught:
                load_published(
                    network("resnet18"),
                    state,
                    where="w.pth",
                    example=EXAMPLE,
                    write_report=journal_weights(run),
                )
        assert place in str(caught.value)
        (entry,) = run.entries("weights")
    assert entry["unused"] == lost
    assert len(entry["missing"]) == 4 * 8  # but for the counters
    few = {n: t for n, t in resnet.state_dict().items() if "layer4.1.bn2" not in n}
    with RunFolder(tmp_path / "002") as run:
        load_published(
            network("resnet18"),
            few,
            where="w.pth",
            example=EXAMPLE,
            write_report=journal_weights(run),
        )
    assert "missing: layer4.1.bn2.weight, " in notes_text(notes)
    assert "journal" not in notes_text(notes)  # the note has them all


def test_weights_of_another_network_are_refused_with_both_shapes(resnet):
    with pytest.raises(UsageError, match=r"64x64x3x3, not 64x64x1x1"):
        load_published(network("resnet50"), resnet.state_dict(), where="w.pth", example=EXAMPLE)


def test_numbers_that_are_not_finite_are_refused(resnet):
    state = resnet.state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"] * float("nan")
    with pytest.raises(DataError, match=r"layer1\.0\.conv1\.weight .* not finite"):
        load_published(network("resnet18"), state, where="w.pth", example=EXAMPLE)


def test_torchvisions_old_files_without_counters_are_whole(resnet):
    state = {n: t for n, t in resnet.state_dict().items() if "num_batches" not in n}
    report = load_published(network("resnet18"), state, where="w.pth", example=EXAMPLE)
    assert report.fraction_of_backbone == 1
    assert report.missing_in_model == ()


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18"])
def test_a_grey_picture_answers_as_the_same_picture_in_colour(resnet, name):
    grey = torch.randn(2, 1, 40, 40)
    net = network(name, in_channels=1)
    report = load_published(net, resnet.state_dict(), where="w.pth", example={"image": grey})
    assert report.adapted == "first layer adapted from 3 to 1 channels"
    with torch.no_grad():
        torch.testing.assert_close(
            answer(net, grey), resnet(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("inputs", "channels"), [(3, 1), (3, 2), (3, 6), (3, 4), (1, 3), (4, 3)])
def test_channels_are_adapted_so_that_equal_channels_give_the_same(inputs, channels):
    """A picture of equal channels answers the same; exactly, where I divides C or C is 1."""
    weight = torch.randn(5, inputs, 3, 3)
    adapted = adapt_channels(weight, channels)
    assert adapted.shape == (5, channels, 3, 3)
    if channels == 1 or channels % inputs == 0:
        torch.testing.assert_close(adapted.sum(1), weight.sum(1))
    if inputs == 3:
        theirs = timm.models.adapt_input_conv(channels, weight)
        torch.testing.assert_close(adapted, theirs)


def test_the_installed_package_holds_timms_tensors_in_timms_order(lite0):
    theirs = timm.create_model("efficientnet_lite0")
    theirs.load_state_dict(lite0, strict=True)
    assert len(lite0) == 296
    # 1280 features to ImageNet's 1000 classes, trained: no fresh layer has such biases
    assert lite0["classifier.bias"].std() > 0.01


@pytest.mark.parametrize("in_channels", [1, 3])
def test_pretrained_efficientnet_answers_as_timms_with_the_same_weights(lite0, in_channels):
    net = network("efficientnet_lite0", in_channels, classes=1000)
    report = load_weights(
        net,
        name="efficientnet_lite0",
        weights="pretrained",
        example={"image": torch.randn(2, in_channels, 64, 64)},
    )
    assert report.fraction_of_backbone == 1
    theirs = timm.create_model("efficientnet_lite0", bn_eps=1e-3).eval()
    theirs.load_state_dict(lite0)
    x = torch.randn(2, in_channels, 64, 64).clamp(-1, 1)
    with torch.no_grad():
        expected = theirs(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(answer(net, x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.real_data
def test_the_package_equals_the_reference_file(lite0, real_data):
    theirs = read_weights(real_data / "weights" / "efficientnet_lite0-timm.safetensors")
    assert theirs.keys() == lite0.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in lite0.items())


def test_none_leaves_the_network_as_it_is(notes):
    assert (
        load_weights(network("resnet20"), name="resnet20", weights="none", example=EXAMPLE) is None
    )
    assert notes == []


def test_a_network_without_published_weights_says_what_to_do():
    with pytest.raises(UsageError, match=r"'resnet20' has no pretrained weights.*--weights none"):
        load_weights(network("resnet20"), name="resnet20", weights="pretrained", example=EXAMPLE)


def test_offline_the_hub_says_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UsageError) as caught:
        load_pretrained_state("resnet18")
    said = str(caught.value)
    for part in ("resnet18.tv_in1k", "no route to host)", "--weights FILE", "--weights none"):
        assert part in said


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet_lite0", ("package", 224, "half")),
        ("resnet50", ("hub", 224, "imagenet")),
        ("resnet20", (None, 32, None)),
        ("timm/resnet18", ("hub", 224, "imagenet")),
        ("timm/vit_tiny_patch16_224", ("hub", 224, "half")),
        ("timm/vit_base_patch16_clip_224.openai", ("hub", 224, "clip")),
        ("timm/efficientnet_lite1", (None, 240, "imagenet")),
    ],
)
def test_what_is_published_under_a_name(name, expected):
    found = pretrained_info(name)
    assert (found.source, found.size, found.normalize) == expected


class Evil:
    """Unpickling this calls a function."""

    def __reduce__(self):
        return (print, ("ran",))


def test_a_file_that_needs_unpickling_is_not_opened(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("w.pth", "raw.pth"):
        with pytest.raises(DataError, match=f"{name} cannot be read as tensors only"):
            read_weights(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("w.pth", b"junk", DataError, "cannot be read"),
        ("w.safetensors", b"junk", DamagedError, "readable safetensors"),
        ("w.onnx", b"junk", UsageError, r"not a file of weights.*\.safetensors"),
        ("folder/x", b"", UsageError, "not a model"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, error, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_bytes(content)
    path = tmp_path / name.removesuffix("/x")
    with pytest.raises(error, match=message):
        read_weights(path)


def test_a_file_of_tensors_without_names_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "w.pth")
    with pytest.raises(DataError, match="does not hold a state dict"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.pth do not exist"):
        read_weights(tmp_path / "gone.pth")


def published(name, classes=CLASSES):
    """timm's network with tensors that are not a fresh network's, and its state."""
    torch.manual_seed(3)
    net = timm.create_model(name, num_classes=classes, **FIT_SIZE.get(name, {})).eval()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            spread = 0.2 * torch.rand_like(tensor)
            tensor.add_(spread if tensor.ndim < 2 else spread * tensor)
    return net


#: timm's own test network of this family takes one size unless told otherwise.
FIT_SIZE = {"test_vit": {"dynamic_img_size": True}}

POOLED = [
    "test_vit",  # a class token
    "test_convnext",  # a norm behind the pooling
    "mobilenetv3_small_050",  # layers behind the pooling
    "ghostnet_050",
    "lcnet_050",
    "resnetv2_50",  # a 1x1 convolution classifies
    "caformer_s18",  # a classifier of several layers
]


@pytest.mark.parametrize("name", POOLED)
def test_a_loaded_classifier_gives_the_outputs_of_timms_network(name):
    theirs = published(name)
    net = network(f"timm/{name}")
    report = load_published(net, theirs.state_dict(), where="w.pth", example=EXAMPLE)
    assert report.classifier == "its classifier of 7 classes loaded too"
    assert report.unmatched_in_file == ()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(answer(net, x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm/test_vit", {"last_map": "features"}),  # the mean of patches, not the class token
        ("timm/test_convnext", {"last_map": "features"}),
        ("timm/mobilenetv3_small_050", {"last_map": "stage"}),
        ("timm/resnet18", {"output_stride": 8}),
        ("resnet18", {"output_stride": 8}),
        ("resnet18", {"residual": False}),
        ("timm/levit_128s", {}),  # the mean of two classifiers
    ],
)
def test_a_classifier_of_the_same_shape_is_not_loaded_for_other_outputs(name, options, notes):
    size = 224 if "levit" in name else 64
    theirs = published(name.removeprefix("timm/"))
    state = theirs.state_dict()
    if "stage" in options.values():  # as wide as the last stage's map
        state["classifier.weight"] = state["classifier.weight"][:, :288]
    net = network(name, **options)
    before = net.head.linear.weight.clone()
    report = load_published(
        net, state, where="w.pth", example={"image": torch.randn(2, 3, size, size)}
    )
    assert "of 7 classes starts fresh, because" in report.classifier
    assert report.classifier in notes_text(notes)
    assert torch.equal(net.head.linear.weight, before)


def test_layers_that_the_network_lacks_are_named(notes):
    state = published("test_convnext").state_dict()
    report = load_published(
        network("timm/test_convnext", last_map="features"), state, where="w.pth", example=EXAMPLE
    )
    assert report.unmatched_in_file == ("head.norm.weight", "head.norm.bias")


def test_a_model_with_other_options_keeps_its_classifier(tmp_path):
    _, task = bundle_for(["cat", "dog", "fish"], tmp_path / "bundle")
    net = network("resnet20", classes=3, residual=False)
    before = net.head.linear.weight.clone()
    backbone = ComponentConfig("resnet20", {"options": {"residual": False}})
    report = load_weights(
        net,
        name="resnet20",
        weights=str(tmp_path / "bundle"),
        example=EXAMPLE,
        arch=Arch(backbone, ComponentConfig("linear")),
        task_record=task,
    )
    assert "has other options" in report.classifier
    assert torch.equal(net.head.linear.weight, before)
