"""The built-in text models. Free of torch."""

from __future__ import annotations

from typing import Any

from skipstone.core.specs import BackboneSpec

#: Adam suits embeddings of rare words; text models overfit after about ten epochs. Batches of 128
#: at nearly three times the rate were 1.8 points worse on questions of six classes.
_TRAIN_RECIPE = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 64,
    "weight_decay": 0.01,
    "epochs": 15,
    "warmup": 0.05,
}
#: Devlin et al. 2019, appendix A.3: the middle of their grid, with one rate for all layers.
_FINETUNE_RECIPE = {
    "optimizer": "adamw",
    "lr": 5e-5,
    "weight_decay": 0.01,
    "epochs": 4,
    "batch_size": 16,
    "warmup": 0.1,
    "layer_decay": 1.0,
    "freeze": 0.0,
    "freeze_epochs": 0,
    "freeze_norm": False,
}


def _sequence(name: str, target: str, options: str, summary: str, source: str) -> BackboneSpec:
    return BackboneSpec(
        name,
        target,
        options,
        summary,
        source,
        accepts=("tokens",),
        input_options={"text_features": "tokens", "subwords": "auto"},  # docs/text.md has the gain
        embedding="embedding",
        provides=("token embeddings",),
        train_recipe=_TRAIN_RECIPE,
    )


def _solved(
    name: str,
    solver: str,
    options: str,
    summary: str,
    source: str,
    grid: dict[str, tuple[float, ...]],
    **input_options: Any,
) -> BackboneSpec:
    return BackboneSpec(
        name,
        "skipstone.models.bow_linear:build_bow_linear",
        options,
        summary,
        source,
        accepts=("bag",),
        head="identity",
        provides=("class logits",),
        solver=f"skipstone.models.bow_linear:{solver}",
        grid=grid,
        input_options={"text_features": "bag", **input_options},
    )


_LINEAR = "skipstone.models.text_backbone_options:LinearModelOptions"

TEXT_ENTRIES = (
    _sequence(
        "textcnn",
        "skipstone.models.text_cnn:build_text_cnn",
        "skipstone.models.text_backbone_options:TextCnnOptions",
        "convolutions over word vectors, max pooling over the text",
        "Kim 2014, arXiv:1408.5882",
    ),
    *(
        _sequence(
            name,
            "skipstone.models.text_recurrent:build_recurrent",
            "skipstone.models.text_backbone_options:RecurrentOptions",
            f"{cell} over word vectors, in both directions, attention over its states",
            source,
        )
        for name, cell, source in (
            ("rnn", "plain recurrent network", "Elman 1990, Cognitive Science 14"),
            ("lstm", "long short-term memory", "Hochreiter and Schmidhuber 1997"),
            ("gru", "gated recurrent units", "Cho et al. 2014, arXiv:1406.1078"),
        )
    ),
    BackboneSpec(
        "fasttext",
        "skipstone.models.text_cnn:build_fasttext",
        "skipstone.models.text_backbone_options:FastTextOptions",
        "the mean of trained n-gram vectors, and a linear layer",
        "Joulin et al. 2016, arXiv:1607.01759",
        accepts=("bag",),
        input_options={"text_features": "bag", "weighting": "counts"},
        embedding="embedding",
        train_recipe={**_TRAIN_RECIPE, "lr": 0.01, "batch_size": 128, "weight_decay": 0.0},
    ),
    _solved(
        "logistic",
        "solve_logistic",
        _LINEAR,
        "logistic regression on word n-grams (TF-IDF): the baseline for text models",
        "scikit-learn; Duchi et al. 2011 where the data is large",
        {"svm_c": (10.0, 100.0)},
        word_ngrams="1-2",
        char_ngrams="none",
    ),
    _solved(
        "linear-svm",
        "solve_svm",
        _LINEAR,
        "linear support vector machine on n-grams",
        "Fan et al. 2008, LIBLINEAR; scikit-learn",
        {"svm_c": (0.5, 2.0)},
    ),
    _solved(
        "nbsvm",
        "solve_nbsvm",
        _LINEAR,
        "linear support vector machines on n-grams scaled by their naive Bayes ratio",
        "Wang and Manning 2012, ACL P12-2018",
        {"svm_c": (0.3, 1.0)},
        weighting="binary",
    ),
    _solved(
        "naive-bayes",
        "solve_naive_bayes",
        "skipstone.models.text_backbone_options:NaiveBayesOptions",
        "multinomial naive Bayes on n-grams",
        "McCallum and Nigam 1998; scikit-learn",
        {"alpha": (0.01, 0.1, 1.0)},
    ),
    BackboneSpec(
        "hf/*",
        "skipstone.models.hf_backbone:build_hf",
        "skipstone.models.text_backbone_options:HfOptions",
        "an encoder of transformers: a folder written by save_pretrained, or a name on the hub",
        "Devlin et al. 2019, arXiv:1810.04805; https://github.com/huggingface/transformers",
        accepts=("tokens",),
        pretrained="hub",
        provides=("token embeddings",),
        resolve_family="skipstone.models.hf_source:resolve_encoder",
        count_costs="skipstone.models.hf_backbone:count_text_encoder",
        train_recipe={**_TRAIN_RECIPE, "lr": 5e-4},
        finetune_recipe=_FINETUNE_RECIPE,
    ),
    BackboneSpec(
        "random-forest",
        "skipstone.models.bow_forest:build_bow_forest",
        "skipstone.models.text_backbone_options:ForestOptions",
        "random forest on n-grams",
        "Breiman 2001; scikit-learn",
        accepts=("bag",),
        head="identity",
        provides=("class logits",),
        solver="skipstone.models.bow_forest:solve_forest",
        input_options={"text_features": "bag", "char_ngrams": "none", "word_ngrams": "1-2"},
    ),
)
