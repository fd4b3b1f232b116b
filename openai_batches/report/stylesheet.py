"""How a report looks: its colours, in the light and in the dark, and its style sheet.

Colours of one kind differ in lightness, so that they can be told apart without seeing hues, and in print.
"""

from __future__ import annotations

__all__ = ["OUTCOME_COLOURS", "PAPER", "STATE_COLOURS", "STYLE", "TOKEN_COLOURS"]

# name -> its colour in the light, and in the dark.
PAPER: dict[str, tuple[str, str]] = {
    "paper": ("#f6f5f1", "#15171b"),
    "card": ("#ffffff", "#1d2026"),
    "text": ("#1d2228", "#e8eaed"),
    "quiet": ("#59626c", "#a3abb5"),
    "line": ("#e2e0d9", "#31363e"),
    "track": ("#f1efe9", "#272b32"),
    "accent": ("#2a7494", "#7cc0e4"),
    "edge": ("#00000038", "#ffffff38"),
    "shade": ("#00000030", "#00000080"),
}
OUTCOME_COLOURS: dict[str, tuple[str, str]] = {
    "succeeded": ("#2d8f74", "#5cc2a1"),
    "failed": ("#9c2f10", "#d2532a"),
    "expired": ("#e0b040", "#f5de9a"),
    "cancelled": ("#7460ab", "#a490e0"),
    "missing": ("#4a2145", "#a04392"),
    "invalid": ("#c78bb4", "#ebbbde"),
    "unfinished": ("#d5d6d9", "#4b525b"),
}
STATE_COLOURS: dict[str, tuple[str, str]] = {
    "validating": ("#e3c070", "#f0d99a"),
    "in_progress": ("#4f97c9", "#6fb8ea"),
    "finalizing": ("#17455f", "#3a7ba3"),
    "cancelling": ("#9a4f86", "#b56ca3"),
    "other": ("#a9adb3", "#585e68"),
}
TOKEN_COLOURS: dict[str, tuple[str, str]] = {
    "fresh": ("#4f97c9", "#6fb4e3"),
    "cached": ("#b9d7ea", "#3a6d90"),
    "written": ("#8a5a12", "#e3b862"),
    "reasoning": ("#e0b040", "#f8e6b8"),
}
_COLOURS = PAPER | OUTCOME_COLOURS | STATE_COLOURS | TOKEN_COLOURS


def _variables(place: int) -> str:
    return "".join(f"--{name}:{pair[place]};" for name, pair in _COLOURS.items())


def _fills() -> str:
    """A class for each colour that something is drawn in."""
    drawn = OUTCOME_COLOURS | STATE_COLOURS | TOKEN_COLOURS
    return "\n".join(f".c-{name}{{background-color:var(--{name});fill:var(--{name})}}" for name in drawn)


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--text);
  font:400 1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",
    "Liberation Sans",sans-serif;
  font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main,header,footer{max-width:68rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.75rem}
h1,h2,h3{line-height:1.2;font-weight:650;letter-spacing:-.012em;margin:0}
h1{font-size:clamp(1.6rem,1.1rem + 2.2vw,2.4rem)}
h2{font-size:1.25rem}
h3{font-size:1rem;letter-spacing:0;margin-top:1.75rem}
p{margin:.35rem 0 0}
.quiet,small,figcaption{color:var(--quiet)}
small{font-size:.8125rem}
.id{font-family:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
  font-size:.8125rem}
.eyebrow{color:var(--accent);font-size:.8125rem;font-weight:600;letter-spacing:.08em;text-transform:uppercase;
  margin:0 0 .5rem}
.state{display:inline-flex;align-items:center;gap:.5rem;margin:1rem 0 0;padding:.3rem .85rem .3rem .7rem;
  border:1px solid var(--line);border-radius:99rem;background:var(--card);font-weight:600}
.state .key{border-radius:50%}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:.85rem 2rem;
  margin:1.5rem 0 0}
.facts dt{color:var(--quiet);font-size:.8125rem}
.facts dd{margin:.1rem 0 0}
section{margin:1.25rem 0 0;padding:1.5rem;background:var(--card);border:1px solid var(--line);border-radius:.85rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:1.35rem 1.5rem;margin:1rem 0 0}
.tiles dt{color:var(--quiet);font-size:.875rem}
.tiles dd{margin:0}
.tiles small{display:block;line-height:1.35}
.tiles .big{display:block;font-size:1.7rem;line-height:1.25;font-weight:650;letter-spacing:-.02em}
.stack{display:flex;gap:2px;height:1.5rem;margin:1.5rem 0 0;border-radius:.4rem;overflow:hidden;background:var(--track)}
.stack span{min-width:3px;flex-basis:0}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.25rem;margin:.85rem 0 0;padding:0;list-style:none;font-size:.875rem}
.legend li{display:flex;align-items:center;gap:.45rem}
.key{display:inline-block;flex:none;width:.8rem;height:.8rem;border-radius:.2rem}
.key,.stack span,.bar span{box-shadow:inset 0 0 0 1px var(--edge)}
.scroll{overflow-x:auto;margin:1rem 0 0;border-radius:.3rem;
  background:linear-gradient(to right,var(--card) 30%,transparent) 0 0/2.5rem 100% no-repeat local,
    linear-gradient(to left,var(--card) 30%,transparent) 100% 0/2.5rem 100% no-repeat local,
    linear-gradient(to right,var(--shade),transparent) 0 0/.8rem 100% no-repeat,
    linear-gradient(to left,var(--shade),transparent) 100% 0/.8rem 100% no-repeat,var(--card)}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.tall{max-height:34rem;overflow-y:auto}
table{border-collapse:collapse;width:100%;font-size:.875rem;overflow-wrap:break-word}
caption{text-align:left;color:var(--quiet);padding:0 0 .5rem}
th,td{padding:.45rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--quiet);font-weight:550;vertical-align:bottom;white-space:nowrap}
.tall thead th{position:sticky;top:0;background:var(--card);box-shadow:0 1px 0 var(--line)}
tbody th{font-weight:550}
tfoot th,tfoot td{border-bottom:0;border-top:2px solid var(--line);font-weight:650}
.n{text-align:right;white-space:nowrap}
.nil{color:var(--quiet)}
.wide td,.wide th{white-space:nowrap}
.bars tbody th{width:100%;min-width:11rem;overflow-wrap:anywhere}
.bars tbody td{vertical-align:top}
.bars th .key{margin-right:.55rem;vertical-align:-.08em}
.bars th small{margin-left:.6rem;font-weight:400}
.models tbody th{width:auto;min-width:14rem;white-space:nowrap}
.even tbody th{white-space:nowrap}
table:not(:has(tfoot)) tbody tr:last-child>*{border-bottom:0}
.bar{display:flex;gap:1px;height:.6rem;min-width:2px;margin:.4rem 0 .15rem;border-radius:.2rem;overflow:hidden}
.bar span{min-width:1px;flex-basis:0}
.plain{background:var(--accent)}
figure{margin:1.25rem 0 0}
figcaption{font-size:.875rem;margin:0 0 .5rem}
.plot{position:relative;height:9rem;border-bottom:1px solid var(--line);
  background:linear-gradient(to right,var(--line) 1px,transparent 1px) 0 0/var(--step) 100% var(--track)}
.plot svg{display:block;width:100%;height:100%}
.axis{position:relative;height:1.5rem;font-size:.8125rem;color:var(--quiet)}
.axis span{position:absolute;top:.15rem;white-space:nowrap;transform:translateX(-50%)}
.axis span:first-child{transform:none}
.axis span.last{transform:translateX(-100%)}
.rows{margin:0;padding:0;list-style:none}
.rows li,.under{display:grid;grid-template-columns:9.75rem minmax(0,1fr) 11rem;gap:0 1rem;align-items:center}
.rows li{padding:.16rem 0;font-size:.8125rem}
.rows .line{position:relative;height:1.05rem;border-radius:.2rem;
  background:linear-gradient(to right,var(--line) 1px,transparent 1px) 0 0/var(--step) 100% var(--track)}
.rows .line span{position:absolute;top:0;bottom:0;min-width:2px}
.rows .line .end{width:4px;margin-left:-4px;min-width:4px;top:-2px;bottom:-2px;border-radius:1px}
.rows .what{color:var(--quiet)}
.c-cancelling{background-image:repeating-linear-gradient(135deg,transparent 0 3px,rgba(255,255,255,.4) 3px 5px)}
.e-completed{background:var(--succeeded)}
.e-failed{background:var(--failed)}
.e-expired{background:var(--expired)}
.e-cancelled{background:var(--cancelled)}
.legend .mark{width:4px;height:1rem;border-radius:1px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:0 2.5rem}
.columns{display:flex;align-items:flex-end;gap:3px;height:7.5rem;padding-top:1.4rem;border-bottom:1px solid var(--line)}
.columns span{position:relative;flex:1;min-height:2px;background:var(--accent);border-radius:.2rem .2rem 0 0}
.columns .none{min-height:0}
.columns b{position:absolute;bottom:100%;left:50%;transform:translateX(-50%);font-weight:400;font-size:.75rem;
  white-space:nowrap;color:var(--quiet)}
.ends{display:flex;justify-content:space-between;font-size:.8125rem;color:var(--quiet);margin:.25rem 0 0}
footer{padding-top:1.5rem;padding-bottom:3rem;color:var(--quiet);font-size:.875rem}
@media (max-width:40rem){
  main,header,footer{padding-left:1rem;padding-right:1rem}
  header{padding-top:1.75rem}
  section{padding:1.15rem 1rem}
  .tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
  .tiles .big{font-size:1.3rem}
  .rows li,.under{grid-template-columns:minmax(0,1fr) auto;gap:0 .75rem}
  .rows li{padding:.4rem 0}
  .rows .line{grid-row:2;grid-column:1/-1}
  .under .axis{grid-column:1/-1}
  .under .side{display:none}
  .facts{grid-template-columns:repeat(2,minmax(0,1fr))}
  .facts div:nth-child(-n+2){grid-column:1/-1}
  .bars tbody th{min-width:8rem}
  .stacks thead{display:none}
  .stacks tr{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.15rem 1rem;padding:.6rem 0;
    border-bottom:1px solid var(--line)}
  .stacks tr>*,.stacks td.n{border:0;padding:0;text-align:left;white-space:normal}
  .stacks tbody th,.stacks tfoot th{grid-column:1/-1;min-width:0;white-space:normal;overflow-wrap:anywhere}
  .stacks [data-label]::before{content:attr(data-label);display:block;color:var(--quiet);font-weight:400;
    font-size:.8125rem}
  .stacks tbody:last-child tr:last-child,.stacks tfoot tr{border-bottom:0}
  .bars th small{display:block;margin-left:1.35rem}
  th,td{padding-left:.5rem;padding-right:.5rem}
}
@page{margin:14mm}
@media print{
  body{background:#fff;font-size:10pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
  main,header,footer{max-width:none;padding-left:0;padding-right:0}
  section{border:0;padding:.5rem 0;border-radius:0}
  figure:not(:has(.rows)),tr,.rows li,.tiles div{break-inside:avoid}
  h2,h2+p,figcaption{break-after:avoid}
  .scroll,.tall{max-height:none;overflow:visible;background:none}
  tfoot{display:table-row-group}
  .wide{font-size:7pt}
  .wide td,.wide th{white-space:normal;padding:.2rem .35rem}
  .wide td:not(.n){overflow-wrap:anywhere}
  .wide [data-name=step]{white-space:nowrap}
  .wide .id{font-size:6.5pt;min-width:8rem}
  .tall thead th{position:static;box-shadow:none}
}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_variables(0)}}}\n"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}\n{_fills()}{_RULES}"
)
