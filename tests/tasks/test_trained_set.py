"""A saved set comes back as four tasks: one encoder built once, decoders of its own, the same answers."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_tasks import BLOCKS, IMAGE_SIZE, PROVENANCE, TinyTasks, build_tasks, multitask_recipe, save_set

from echoapex.models import registry
from echoapex.models.bundle import BundleError, load_bundle, save_bundle, update_card
from echoapex.models.encoder import EncodedClip, encode_clip
from echoapex.tasks.trained_set import blocks_of, load_models, load_view_model
from echoapex.tasks.view_classification import NOT_ECHO, NotEchoHead, join_not_echo
from echoapex.vocabulary import Application, Structure


@pytest.fixture(autouse=True)
def _no_other_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))


def test_tasks_of_one_encoder_share_it(saved_set: Path) -> None:
    models = load_models(saved_set)
    assert len({id(model.encoder) for model in models.encoders.values()}) == 1
    assert set(models.encoders) == set(Application)
    assert models.shared_blocks(Application.VIEW_CLASSIFICATION) == BLOCKS
    assert models.encoders[Application.EJECTION_FRACTION].blocks == (11,)
    assert {model.input_size for model in models.encoders.values()} == {IMAGE_SIZE}


def test_models_are_for_prediction_only(saved_set: Path) -> None:
    models = load_models(saved_set)
    for task in (models.view_classification, models.segmentation, models.lv_wall, models.ejection_fraction):
        assert not task.training
        assert not any(parameter.requires_grad for parameter in task.parameters())


def test_digests_say_which_weights_answered(saved_set: Path) -> None:
    expected = {f"tiny/{name}": load_bundle(saved_set / name).digest for name in ("encoder", *Application)}
    assert load_models(saved_set).digests == expected


def test_a_loaded_set_answers_as_the_trained_tasks(tasks: TinyTasks, saved_set: Path, encoded: EncodedClip) -> None:
    models = load_models(saved_set)
    tokens = encode_clip(models.view_classification.encoder, BLOCKS, encoded.pixels.numpy(), encoded.times_s.tolist())
    expected = tasks.multitask.view.predict(encoded).probabilities
    assert models.view_classification.predict(tokens).probabilities == pytest.approx(expected, abs=0.01)
    ((_, before, _),) = tasks.multitask.segmentation.predict(encoded, [2], tuple(Structure))
    ((_, after, _),) = models.segmentation.predict(tokens, [2], tuple(Structure))
    assert abs(before - after).max() < 0.02, "halved weights differ by rounding only"


def test_the_view_classifier_comes_alone(tasks: TinyTasks, saved_set: Path, encoded: EncodedClip) -> None:
    view = load_view_model(registry.find_set(saved_set))
    assert view.digests == {
        "encoder": load_bundle(saved_set / "encoder").digest,
        "decoder": load_bundle(saved_set / "view_classification").digest,
    }
    assert view.model.input_size == IMAGE_SIZE
    assert not any(parameter.requires_grad for parameter in view.task.parameters())
    tokens = encode_clip(view.model.encoder, view.model.blocks, encoded.pixels.numpy(), encoded.times_s.tolist())
    expected = load_models(saved_set).view_classification.predict(tokens).probabilities
    assert view.task.predict(tokens).probabilities == pytest.approx(expected, abs=1e-6)


def test_calibration_of_the_card_is_used(saved_set: Path, tmp_path: Path) -> None:
    calibrated = shutil.copytree(saved_set, tmp_path / "calibrated")
    update_card(calibrated / "view_classification", calibration={"temperature": 2.5})
    update_card(calibrated / "ejection_fraction", calibration={"interval_factor": 1.75})
    models = load_models(calibrated)
    assert models.view_classification.temperature == 2.5
    assert models.ejection_fraction.interval_factor == 1.75


def test_a_part_of_a_set_brings_its_own_encoder_and_the_default_fills_up(tmp_path: Path, saved_set: Path) -> None:
    shutil.copytree(saved_set, tmp_path / "shipped" / "phantom")
    multitask_recipe().export(build_tasks(seed=7).multitask, part := tmp_path / "part", PROVENANCE)
    for task in ("view_classification", "lv_wall"):
        shutil.rmtree(part / task)
    models = load_models(part)
    own, default = models.segmentation.encoder, models.view_classification.encoder
    assert own is not default
    assert models.lv_wall.encoder is default
    assert models.shared_blocks(Application.SEGMENTATION) == BLOCKS
    assert set(models.digests) == {
        "part/encoder", "part/segmentation", "phantom/encoder", "phantom/view_classification", "phantom/lv_wall",
        "phantom/ejection_fraction",
    }  # fmt: skip


def test_a_decoder_of_another_encoder_is_refused(tmp_path: Path, saved_set: Path) -> None:
    mixed = shutil.copytree(saved_set, tmp_path / "mixed")
    other = save_set(build_tasks(seed=7), tmp_path / "other")
    shutil.rmtree(mixed / "segmentation")
    shutil.copytree(other / "segmentation", mixed / "segmentation")
    with pytest.raises(BundleError, match="was trained on the encoder"):
        load_models(mixed)


def test_an_incomplete_set_without_a_default_is_refused(tmp_path: Path, saved_set: Path) -> None:
    partial = shutil.copytree(saved_set, tmp_path / "partial")
    shutil.rmtree(partial / "lv_wall")
    with pytest.raises(BundleError, match="lv_wall"):
        load_models(partial)


def test_the_blocks_of_a_bundle_are_those_of_its_card(saved_set: Path) -> None:
    assert blocks_of(load_bundle(saved_set / "segmentation")) == BLOCKS


def test_weights_come_back_on_the_device_asked_for(saved_set: Path) -> None:
    models = load_models(saved_set, torch.device("cpu"))
    assert {parameter.device.type for parameter in models.segmentation.parameters()} == {"cpu"}


def test_a_set_that_has_learned_what_is_no_echo_says_so(saved_set: Path, tmp_path: Path, encoded: EncodedClip) -> None:
    assert load_models(saved_set).view_classification.not_echo is None
    assert not load_models(saved_set).view_classification.doubts_echo(encoded)
    learned = shutil.copytree(saved_set, tmp_path / "learned")
    bundle = load_bundle(learned / "view_classification")
    token = encoded.tokens[-1].class_token.float().mean(dim=0)
    around = token + 0.01 * torch.randn(900, len(token), generator=torch.Generator().manual_seed(0))

    for head, doubts in ((NotEchoHead.fit_mahalanobis(around), False), (NotEchoHead.fit_mahalanobis(around + 5), True)):
        architecture = {**bundle.card.architecture, NOT_ECHO: head.config.model_dump()}
        card = bundle.card.model_copy(update={"architecture": architecture})
        save_bundle(learned / "view_classification", join_not_echo(bundle.state, head), card)
        views = load_models(learned).view_classification
        assert views.doubts_echo(encoded) is doubts
        assert (
            views.predict(encoded).probabilities
            == load_models(saved_set).view_classification.predict(encoded).probabilities
        )
