"""Prompts as a person would give them: inside what they ask for, of all kinds, and repeatable."""

from collections import Counter

import torch
from tiny_tasks import IMAGE_SIZE, frame_batch

from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PointLabel, PromptBatch
from echoapex.tasks.segmentation import add_correction, simulate_prompts, structure_masks

BATCH = frame_batch(4)
TRUTH = structure_masks(BATCH.labels)
HALF = IMAGE_SIZE // 2
NOTHING_FOUND = torch.full((4, 6, HALF, HALF), -4.0)


def simulate(seed: int, logits: torch.Tensor = NOTHING_FOUND) -> tuple[PromptBatch, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return simulate_prompts(TRUTH, logits, BATCH.structure_known)


def kind_of(prompts: PromptBatch) -> str:
    if prompts.mask_logits is not None:
        return "correction"
    return "box" if (prompts.point_labels == PointLabel.BOX_FIRST_CORNER).any() else "click"


def test_the_same_seed_gives_the_same_prompts() -> None:
    first, second = simulate(4), simulate(4)
    assert torch.equal(first[0].points_xy, second[0].points_xy)
    assert torch.equal(first[0].structures, second[0].structures)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0].points_xy, simulate(5)[0].points_xy)


def test_all_kinds_come_and_half_of_the_prompts_say_the_name() -> None:
    drawn = [simulate(seed) for seed in range(60)]
    kinds = Counter(kind_of(prompts) for prompts, _, _ in drawn)
    assert set(kinds) == {"click", "box", "correction"}
    assert min(kinds.values()) >= 8
    names = torch.cat([prompts.structures[:, 0] for prompts, _, _ in drawn])
    asked = torch.cat([structure + 1 for _, structure, _ in drawn])
    named = names != NO_STRUCTURE
    assert 0.35 < named.float().mean() < 0.65
    assert torch.equal(names[named], asked[named])


def test_only_structures_that_are_known_and_shown_are_asked_for() -> None:
    asked = torch.cat([simulate(seed)[1] for seed in range(30)])
    assert set(asked.tolist()) == {0, 1, 2}, "the three that are drawn"


def test_points_lie_where_a_person_would_put_them() -> None:
    for seed in range(30):
        prompts, structure, valid = simulate(seed)
        assert valid.all()
        for image in range(4):
            mask = TRUTH[image, structure[image]]
            (first, second), labels = prompts.points_xy[image, 0], prompts.point_labels[image, 0].tolist()
            if kind_of(prompts) == "box":
                rows, columns = torch.nonzero(mask, as_tuple=True)
                x, y = columns.float().mean(), rows.float().mean()
                assert first[0] < x < second[0]
                assert first[1] < y < second[1]
                assert labels == [PointLabel.BOX_FIRST_CORNER, PointLabel.BOX_LAST_CORNER]
            else:
                assert labels == [PointLabel.POSITIVE, PointLabel.PADDING]
                x, y = first.round().int().tolist()
                assert mask[y, x]


def test_what_was_wrongly_found_gets_a_negative_click() -> None:
    everywhere = torch.full((4, 6, HALF, HALF), 4.0)
    corrections = [found for seed in range(40) if kind_of((found := simulate(seed, everywhere))[0]) == "correction"]
    assert corrections
    for prompts, structure, _ in corrections:
        assert torch.equal(prompts.mask_logits[:, 0], everywhere[:, 0])
        for image in range(4):
            assert prompts.point_labels[image, 0, 0] == PointLabel.NEGATIVE
            x, y = prompts.points_xy[image, 0, 0].round().int().tolist()
            assert not TRUTH[image, structure[image], y, x]


def test_a_perfect_mask_gets_a_click_inside_instead_of_a_correction() -> None:
    perfect = torch.nn.functional.interpolate(TRUTH.float(), scale_factor=0.5, mode="area") * 8 - 4
    exact = torch.nn.functional.interpolate(perfect, scale_factor=2, mode="bilinear") > 0
    for seed in range(30):
        torch.manual_seed(seed)
        prompts, structure, _ = simulate_prompts(exact, perfect, BATCH.structure_known)
        if kind_of(prompts) == "correction":
            x, y = prompts.points_xy[0, 0, 0].round().int().tolist()
            assert exact[0, structure[0], y, x]
            assert prompts.point_labels[0, 0, 0] == PointLabel.POSITIVE


def test_an_image_that_shows_nothing_is_marked() -> None:
    truth = TRUTH.clone()
    truth[1] = False
    torch.manual_seed(0)
    prompts, _, valid = simulate_prompts(truth, NOTHING_FOUND, BATCH.structure_known)
    assert valid[:, 0].tolist() == [True, False, True, True]
    assert (prompts.point_labels[1] == PointLabel.PADDING).all()
    unknown = torch.zeros_like(BATCH.structure_known)
    assert not simulate_prompts(TRUTH, NOTHING_FOUND, unknown)[2].any()


def test_the_next_round_adds_one_click_on_the_largest_error_and_the_answer() -> None:
    prompts, structure, valid = simulate(2)
    asked = TRUTH[torch.arange(4), structure]
    for answer, label in ((NOTHING_FOUND[:, :1], PointLabel.POSITIVE), (-NOTHING_FOUND[:, :1], PointLabel.NEGATIVE)):
        more = add_correction(prompts, asked, answer, valid)
        assert torch.equal(more.points_xy[:, :, :-1], prompts.points_xy), "earlier points stay"
        assert torch.equal(more.structures, prompts.structures)
        assert torch.equal(more.mask_logits, answer)
        for image in range(4):
            assert more.point_labels[image, 0, -1] == label
            x, y = more.points_xy[image, 0, -1].round().int().tolist()
            assert bool(asked[image, y, x]) is (label == PointLabel.POSITIVE)


def test_who_sees_no_error_or_asked_for_nothing_does_not_click() -> None:
    prompts, structure, valid = simulate(2)
    perfect = torch.nn.functional.interpolate(TRUTH.float(), scale_factor=0.5, mode="area") * 8 - 4
    exact = torch.nn.functional.interpolate(perfect, scale_factor=2, mode="bilinear") > 0
    each = torch.arange(4)
    satisfied = add_correction(prompts, exact[each, structure], perfect[each, structure][:, None], valid)
    assert (satisfied.point_labels[:, :, -1] == PointLabel.PADDING).all()
    nobody = add_correction(prompts, TRUTH[each, structure], NOTHING_FOUND[:, :1], torch.zeros_like(valid))
    assert (nobody.point_labels[:, :, -1] == PointLabel.PADDING).all()
