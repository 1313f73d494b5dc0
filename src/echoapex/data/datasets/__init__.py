"""The public data sets that EchoApex reads, each in its official layout: descriptions, readers and verifiers.

Only the layouts are described here. The data come from their owners, under the owners' terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from echoapex.data.datasets.camus import open_camus
from echoapex.data.datasets.camus_checks import inspect_camus
from echoapex.data.datasets.corrections import CorrectionsDataset, inspect_corrections
from echoapex.data.datasets.echonet_dynamic import EchoNetDynamic, inspect_echonet_dynamic
from echoapex.data.datasets.echonet_lvh import EchoNetLvh, inspect_echonet_lvh
from echoapex.data.datasets.echonet_pediatric import EchoNetPediatric, inspect_echonet_pediatric
from echoapex.data.datasets.folder import ClipFolder, inspect_folder
from echoapex.data.datasets.hmc_qu import HmcQu, inspect_hmc_qu
from echoapex.data.datasets.inspection import Finding, Inspection, Severity
from echoapex.data.datasets.mimic_iv_echo import MimicIvEcho, inspect_mimic_iv_echo
from echoapex.data.datasets.records import Dataset, DatasetClip, DatasetError
from echoapex.data.datasets.tmed2 import Tmed2, inspect_tmed2
from echoapex.data.datasets.unity import Unity, inspect_unity
from echoapex.vocabulary import SUBTASKS, Quantity, Structure, SubTask, View

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetClip",
    "DatasetDescription",
    "DatasetError",
    "Finding",
    "Inspection",
    "Severity",
]
_STANFORD = "Stanford's research use agreement: personal, non-commercial research; no redistribution, no derivatives"
_WALLS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)


@dataclass(frozen=True)
class DatasetDescription:
    """What a person must know of a data set, and the two functions that read it.

    Attributes:
        title: its name and what it holds.
        licence: the terms, in words; "not confirmed" where no page of the owners could be read.
        access: how to apply, and where.
        citation: what to cite, with its DOI where there is one.
        files: what must be in the folder that is given as root.
        tasks: the sub-tasks of EchoApex that it has labels for.
        open: opens the folder.
        inspect: verifies the folder.
    """

    title: str
    licence: str
    access: str
    citation: str
    files: tuple[str, ...]
    tasks: tuple[SubTask, ...]
    open: Callable[[Path], Dataset]
    inspect: Callable[[Inspection], None]


def _tasks(*subjects: View | Structure | Quantity) -> tuple[SubTask, ...]:
    return tuple(task for task in SUBTASKS if any(task.subject is subject for subject in subjects))


DATASETS: dict[str, DatasetDescription] = {
    "camus": DatasetDescription(
        title="CAMUS: A4C and A2C of 500 patients, LV, myocardium and left atrium outlined at ED and ES, EF",
        licence="CC BY-NC-SA 4.0, non-commercial research",
        access="https://www.creatis.insa-lyon.fr/Challenge/camus/, registration",
        citation="Leclerc et al., IEEE TMI 2019, doi 10.1109/TMI.2019.2900516",
        files=(
            "patient0001/patient0001_4CH_ED.nii.gz and ..._gt.nii.gz (or .mhd with .raw), patient0001/Info_4CH.cfg",
            "subgroup_training.txt, subgroup_validation.txt, subgroup_testing.txt (also in database_split beside)",
            "or one camus224.npz with patients_info.csv",
        ),
        tasks=_tasks(
            View.A4C,
            View.A2C,
            Structure.LV_CAVITY,
            Structure.LV_MYOCARDIUM,
            Structure.LEFT_ATRIUM,
            Quantity.LVEF,
        ),
        open=open_camus,
        inspect=inspect_camus,
    ),
    "echonet_dynamic": DatasetDescription(
        title="EchoNet-Dynamic: 10,030 A4C videos, EF, EDV, ESV, LV traced at ED and ES",
        licence=_STANFORD,
        access="https://echonet.github.io/dynamic/, registration at the Stanford AIMI shared datasets portal",
        citation="Ouyang et al., Nature 2020, doi 10.1038/s41586-020-2145-8",
        files=("FileList.csv", "VolumeTracings.csv", "Videos/*.avi"),
        tasks=_tasks(View.A4C, Structure.LV_CAVITY, Quantity.LVEF),
        open=EchoNetDynamic,
        inspect=inspect_echonet_dynamic,
    ),
    "echonet_pediatric": DatasetDescription(
        title="EchoNet-Pediatric: A4C and PSAX videos of children, EF, LV outlined at ED and ES",
        licence=_STANFORD,
        access="https://echonet.github.io/pediatric/, registration at the Stanford AIMI shared datasets portal",
        citation="Reddy et al., J Am Soc Echocardiogr 2023, doi 10.1016/j.echo.2023.01.015",
        files=("A4C/FileList.csv, A4C/VolumeTracings.csv, A4C/Videos/*.avi", "PSAX/ likewise"),
        tasks=_tasks(View.A4C, Structure.LV_CAVITY, Quantity.LVEF),
        open=EchoNetPediatric,
        inspect=inspect_echonet_pediatric,
    ),
    "echonet_lvh": DatasetDescription(
        title="EchoNet-LVH: 12,000 PLAX videos at native resolution, septum, LV and posterior wall measured",
        licence=_STANFORD,
        access="https://echonet.github.io/lvh/, registration at the Stanford AIMI shared datasets portal",
        citation="Duffy et al., JAMA Cardiology 2022, doi 10.1001/jamacardio.2021.6059",
        files=("MeasurementsList.csv", "Batch1/*.avi to Batch4/*.avi"),
        tasks=_tasks(View.PLAX, *_WALLS),
        open=EchoNetLvh,
        inspect=inspect_echonet_lvh,
    ),
    "tmed2": DatasetDescription(
        title="TMED-2: still images of transthoracic studies, view and aortic stenosis grade",
        licence="Tufts' TMED data licence, academic research",
        access="https://tmed.cs.tufts.edu/, application",
        citation="Huang et al., TMED 2, DataPerf workshop at ICML 2022 (no DOI)",
        files=(
            "approved_users_only/DEV479/TMED2_fold0_labeledpart.csv",
            "approved_users_only/view_and_diagnosis_labeled_set/labeled/*.png",
            "approved_users_only/view_labeled_set/labeled/*.png",
        ),
        tasks=_tasks(View.PLAX, View.A4C, View.A2C),
        open=Tmed2,
        inspect=inspect_tmed2,
    ),
    "mimic_iv_echo": DatasetDescription(
        title="MIMIC-IV-ECHO: 7,243 whole transthoracic studies as DICOM, EF by report (version 1.0)",
        licence="PhysioNet credentialed health data licence and data use agreement",
        access="https://physionet.org/content/mimic-iv-echo/, credentialed account and training",
        citation="Gow et al., PhysioNet 2026, doi 10.13026/nrjh-5r77 (0.1: doi 10.13026/ef48-v217)",
        files=(
            "echo-record-list.csv, echo-study-list.csv",
            "files/p10/p<subject>/s<study>/*.dcm",
            "structured-measurement.csv.gz (version 1.0), SHA256SUMS.txt",
        ),
        tasks=_tasks(Quantity.LVEF),
        open=MimicIvEcho,
        inspect=inspect_mimic_iv_echo,
    ),
    "unity": DatasetDescription(
        title="Unity Imaging Collaborative: frames of many hospitals, key points and curves by experts",
        licence="Creative Commons, non-commercial; the exact licence is not confirmed",
        access="https://data.unityimaging.net/, open download",
        citation="Howard et al., Circ Cardiovasc Imaging 2021 (DOI not confirmed)",
        files=("labels/labels-train.json, labels-tune.json, labels-ival.json", "png-cache/01/4d/44/01-4d44*.png"),
        tasks=_tasks(View.PLAX, Structure.LV_CAVITY, *_WALLS),
        open=Unity,
        inspect=inspect_unity,
    ),
    "hmc_qu": DatasetDescription(
        title="HMC-QU: 162 A4C and 160 A2C videos, infarction by segment, LV wall outlined in 109",
        licence="as on Kaggle; not confirmed",
        access="https://www.kaggle.com/datasets/aysendegerli/hmcqu-dataset, Kaggle account",
        citation="Degerli et al., Biomed Signal Process Control 2024, doi 10.1016/j.bspc.2023.105448",
        files=(
            "A4C.csv, A2C.csv: the sheets A4C.xlsx and A2C.xlsx saved as CSV",
            "HMC-QU/A4C/*.avi, HMC-QU/A2C/*.avi",
            "LV Ground-truth Segmentation Masks/Mask_*.mat",
        ),
        tasks=_tasks(View.A4C, View.A2C, Structure.LV_MYOCARDIUM),
        open=HmcQu,
        inspect=inspect_hmc_qu,
    ),
    "folder": DatasetDescription(
        title="Your own clips with a table of what is known of them",
        licence="yours",
        access="write clips.csv; its columns are in the guide",
        citation="-",
        files=("clips.csv with at least the column file", "the clips it names: DICOM, video, image or volume"),
        tasks=_tasks(*View, *_WALLS, Quantity.LVEF),
        open=ClipFolder,
        inspect=inspect_folder,
    ),
    "corrections": DatasetDescription(
        title="What you and your colleagues corrected on the page: views, outlines, wall points",
        licence="yours",
        access="correct clips on the page of echoapex serve; --root is its state folder",
        citation="-",
        files=("corrections/index.json", "corrections/STUDY/CLIP.json and .npz", "the clips that the index names"),
        tasks=_tasks(*View, *Structure, *_WALLS),
        open=CorrectionsDataset,
        inspect=inspect_corrections,
    ),
}
"""Every data set by the name that commands take."""
