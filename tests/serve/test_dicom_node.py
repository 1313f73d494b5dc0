"""What the node takes and what it refuses, with which status, asked by DCMTK and by pynetdicom."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from node_workplace import Workplace
from pydicom import dcmread
from pydicom.uid import JPEG2000, UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from real_peers import dcmtk, store_with_dcmtk, until
from small_echo import write_small_study

from echoapex.config import ConfigError
from echoapex.serve import dicom_node, studies
from echoapex.serve.dicom_node import DicomNode, StorageHandler
from echoapex.serve.studies import StudyState

Make = Callable[..., Workplace]
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"


@contextmanager
def listening(place: Workplace) -> Iterator[tuple[DicomNode, StorageHandler]]:
    listener, handler = place.listen()
    try:
        yield listener, handler
    finally:
        listener.close(0.0)


@contextmanager
def associated(
    node: DicomNode, *contexts: tuple[str, str], title: str = "SENDER", called: str = "ECHOAPEX"
) -> Iterator[Association]:
    entity = AE(ae_title=title)
    entity.dimse_timeout = 10
    for uid, syntax in contexts or ((MULTI_FRAME, JPEGBaseline8Bit),):
        entity.add_requested_context(uid, syntax)
    association = entity.associate("127.0.0.1", node.port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def stored(dataset: Any, node: DicomNode, syntax: str = JPEGBaseline8Bit) -> int:
    with associated(node, (MULTI_FRAME, syntax)) as association:
        return int(association.send_c_store(dataset).Status)


def test_dcmtk_verifies_and_stores(workplace: Make, small_study: list[Path]) -> None:
    place = workplace()
    with listening(place) as (node, handler):
        address = ("127.0.0.1", node.port)
        assert dcmtk("echoscu", "-aet", "SENDER", "-aec", "ECHOAPEX", *address).returncode == 0
        for _ in range(2):
            result = store_with_dcmtk(node.port, small_study)
            assert result.returncode == 0, result.stderr
    assert handler.counts == {"new": 1, "duplicate": 1}
    assert place.parts.studies.counts() == {StudyState.RECEIVING: 1}


def test_unknown_titles_are_rejected(workplace: Make) -> None:
    with listening(workplace()) as (node, _):
        for own, called in (("STRANGER", "ECHOAPEX"), ("SENDER", "OTHER")):
            assert dcmtk("echoscu", "-aet", own, "-aec", called, "127.0.0.1", node.port).returncode != 0
            with associated(node, title=own, called=called) as association:
                assert association.is_rejected
        assert node.rejected == 4


def test_an_unknown_class_is_refused_by_its_context(workplace: Make) -> None:
    unknown = "1.2.826.0.1.3680043.8.498.1.2.3"
    with (
        listening(workplace()) as (node, _),
        associated(node, (unknown, ImplicitVRLittleEndian), (MULTI_FRAME, JPEGBaseline8Bit)) as association,
    ):
        assert [context.abstract_syntax for context in association.accepted_contexts] == [MULTI_FRAME]
        assert [context.result for context in association.rejected_contexts] == [3]  # abstract syntax not supported


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEG2000, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("uid", [MULTI_FRAME, "1.2.840.10008.5.1.4.1.1.88.72", "1.2.840.10008.5.1.4.1.1.66.4"])
def test_every_class_is_taken_in_every_encoding(workplace: Make, uid: str, syntax: UID) -> None:
    with listening(workplace()) as (node, _), associated(node, (uid, syntax)) as association:
        (context,) = association.accepted_contexts
        assert context.transfer_syntax == [syntax]


def test_a_damaged_data_set_is_not_understood(workplace: Make, small_study: list[Path]) -> None:
    place = workplace()
    with listening(place) as (node, handler):
        dataset = dcmread(small_study[0])
        del dataset.StudyInstanceUID
        assert stored(dataset, node) == dicom_node.CANNOT_UNDERSTAND
        dataset = dcmread(small_study[0])
        with associated(node) as association:
            request = C_STORE()
            request.MessageID = 1
            request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, "1.2.3.4"
            request.Priority = 2
            request.DataSet = BytesIO(encode(dataset, False, True) or b"")
            (context,) = association.accepted_contexts
            association._reactor_checkpoint.clear()
            association.dimse.send_msg(request, context.context_id)
            _, answer = association.dimse.get_msg(block=True)
            association._reactor_checkpoint.set()
            assert answer.Status == dicom_node.NOT_AS_ANNOUNCED
    assert handler.counts == {"damaged": 1, "not_as_announced": 1}
    assert not list((place.parts.config.data / "incoming").rglob("*.dcm"))


def test_a_full_disk_lets_the_sender_keep_the_instance(
    workplace: Make, small_study: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace()
    with listening(place) as (node, handler):
        with monkeypatch.context() as patch:

            def full(_: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(studies.os, "fsync", full)
            assert stored(dcmread(small_study[0]), node) == dicom_node.OUT_OF_RESOURCES
        assert stored(dcmread(small_study[0]), node) == dicom_node.SUCCESS
    assert handler.counts == {"not_kept": 1, "new": 1}


def test_too_little_room_is_out_of_resources(workplace: Make, small_study: list[Path]) -> None:
    with listening(workplace(limits={"free_mb": 1e9})) as (node, handler):
        result = store_with_dcmtk(node.port, small_study)
        assert "Refused: OutOfResources" in result.stdout + result.stderr
    assert handler.counts == {"disk_full": 1}


def test_an_instance_that_is_too_large_is_dropped_while_it_comes(workplace: Make, small_study: list[Path]) -> None:
    size_mb = small_study[0].stat().st_size / 1e6
    with listening(workplace(limits={"instance_mb": size_mb / 2, "free_mb": 1})) as (node, handler):
        assert stored(dcmread(small_study[0]), node) == dicom_node.OUT_OF_RESOURCES
    assert handler.counts == {"too_large": 1}


def test_an_instance_without_end_ends_the_association(workplace: Make, small_study: list[Path]) -> None:
    with listening(workplace(limits={"instance_mb": 0.05, "free_mb": 1})) as (node, handler):
        dataset = dcmread(small_study[0])
        dataset.add_new(0x7FE00010, "OB", dataset.PixelData)
        dataset.add_new(0x00420011, "OB", bytes(2_000_000))
        with associated(node) as association:
            answer = association.send_c_store(dataset)
            assert "Status" not in answer or answer.Status == dicom_node.OUT_OF_RESOURCES
            until(lambda: not association.is_established or "Status" in answer, "the association ends")
    assert handler.counts.get("new") is None


def test_more_associations_than_allowed_are_refused_for_a_while(workplace: Make) -> None:
    with listening(workplace(limits={"associations": 2, "free_mb": 1})) as (node, _):
        with associated(node) as first, associated(node) as second, associated(node) as third:
            assert first.is_established and second.is_established
            assert third.is_rejected
            primitive = third.acceptor.primitive
            assert (primitive.result, primitive.diagnostic) == (2, 2)  # transient, local limit exceeded
        until(lambda: node.associations == 0, "the associations end")
        with associated(node) as again:
            assert again.is_established


def test_reports_and_segmentations_are_taken_but_not_analysed(workplace: Make) -> None:
    place = workplace()
    with listening(place) as (node, handler):
        for result in place.results:
            dataset = dcmread(result.path)
            with associated(node, (result.sop_class, dataset.file_meta.TransferSyntaxUID)) as association:
                assert association.send_c_store(dataset).Status == dicom_node.SUCCESS
    assert handler.counts == {"ignored": len(place.results)}
    assert place.parts.studies.counts() == {}


def test_a_silent_connection_keeps_nobody_out(workplace: Make) -> None:
    with listening(workplace()) as (node, _), socket.create_connection(("127.0.0.1", node.port)):
        assert dcmtk("echoscu", "-aet", "SENDER", "-aec", "ECHOAPEX", "127.0.0.1", node.port).returncode == 0


def test_a_probe_of_the_port_is_no_open_association(workplace: Make) -> None:
    with listening(workplace(limits={"associations": 1, "free_mb": 1})) as (node, _):
        with socket.create_connection(("127.0.0.1", node.port)):
            until(lambda: node.associations == 1, "the probe is connected", 5)
            with associated(node) as association:
                assert association.is_established
        until(lambda: node.associations == 0, "the probe is forgotten", 5)


def test_a_port_in_use_is_one_line(workplace: Make) -> None:
    place = workplace()
    with listening(place) as (node, _):
        taken = place.parts.config.model_copy(update={"port": node.port})
        with pytest.raises(ConfigError, match="choose another port"):
            DicomNode(taken, StorageHandler(place.parts.studies, 1), place.parts.ledger)


def test_two_studies_are_two(workplace: Make, tmp_path: Path) -> None:
    place = workplace()
    files = [write_small_study(tmp_path / "s", number)[0] for number in (1, 2)]
    with listening(place) as (node, _):
        assert store_with_dcmtk(node.port, files).returncode == 0
    assert place.parts.studies.counts() == {StudyState.RECEIVING: 2}
    assert len(list((place.parts.config.data / "incoming").iterdir())) == 2
