"""A map at the end of a notebook cell: a card with its numbers, drawn by a layer the core does not know."""

import subprocess
import sys
from dataclasses import replace

import numpy as np

import vitscope as vs
from support.handmade import CLS, trace_of


def test_a_card_says_what_it_shows():
    one = vs.attention(trace_of(CLS, 1), layer=1, query=(0, 2))
    bundle = one._repr_mimebundle_()
    html = bundle["text/html"]
    assert set(bundle) == {"text/plain", "text/html"}
    for words in (
        "Attention",
        "attention weight (row sums to 1)",
        "layer 1",
        "query 0,2",
        "not in the picture: CLS",
        "data:image/png;base64,",
    ):
        assert words in html


def test_texts_from_outside_stay_texts():
    one = replace(vs.attention(trace_of(CLS, 1)), notes=("<script>alert(1)</script>",), unit="<b>")
    html = one._repr_mimebundle_()["text/html"]
    assert "<script" not in html
    assert "<b>" not in html.replace("<b>Attention</b>", "")


def test_a_batch_is_several_cards_and_signed_maps_have_their_colours():
    trace = trace_of(CLS, 10)
    html = vs.rollout(trace)._repr_mimebundle_()["text/html"]
    assert html.count("<figure") == 8
    assert "… and 2 more" in html
    signed = vs.occlusion(trace_of(CLS, 1))
    assert signed.signed
    assert "−" in signed._repr_mimebundle_()["text/html"]
    assert np.isfinite(signed.values[0, 1:]).all()


def test_the_core_alone_gives_text():
    code = (
        "import numpy as np\n"
        "from vitscope.core.maps import TokenMap\nfrom vitscope.core.layout import TokenLayout\n"
        "from vitscope.core.placement import Placement\nfrom vitscope.core.provenance import Provenance\n"
        "layout = TokenLayout.plain((), (2, 2), (4, 4), (8, 8))\n"
        "made = Provenance('m', '0', '', '', '', '', 0)\n"
        "one = TokenMap(np.zeros((1, 4), np.float32), layout, (Placement.of_photo((8, 8)),), 'attention', 'u', made)\n"
        "print(sorted(one._repr_mimebundle_()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['text/plain']"
