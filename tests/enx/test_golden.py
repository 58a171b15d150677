"""The `.enx` format, held fast by literal files: what both decoders read of them, and that the writer still makes them.

The second decoder is `examples/decode_enx.py`, which shares nothing with the package. `make_golden.py` made the files.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import ModelProto

import enxuto
from enxuto import CompressedModel
from enxuto.codec import TRELLIS_CODERS
from enxuto.codec.context_model import read_model
from enxuto.codec.contexts import encode_contexts
from enxuto.codec.layout import Layout
from enxuto.onnx_model import array_bytes
from make_golden import cases, digest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "decode_enx.py"
DEMO = ROOT / "src" / "enxuto" / "demo"

# fmt: off
# golden files
GOLDEN = {
    "network": (
        "iA7FW4GJ0x0RRC2O921?00000`v3p{)BpegbN~PVtQ&d106mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*gH@tu^u0|2`b2R><0EAYnMW{}Fh;ligQ-pF@j!dn@ue"
        "Um*HtXiZV!U<n^$MY%^mB!}oj#(9GM6^*^ova)spWb${<_WH&K<KSUnuU7(TIu&|M_-YQQI{$q&P{waXg6gkBp5V7Y4D-)%!"
        "DpRT3$kovZM1Pk!A<<~L%3C4r1Qw_rhY^7!#BzW&IFAk~&xuXiWxvoP)JSm^!7|Fe+(sJb8^0GNx<Aut0B?6EWl0Al<}r7FI"
        "XRO7*%@%LHSlkW0KrGX0o*;8&ZBrOI",
        {
            "w": "cdcc4cbfcdccccbd 05db6f54028d4c2fa2c41f95d43dee34f505a2e4",
        },
    ),
    "channel": (
        "iA7FW4GJ0x0RRC2bpZeX00000_5c6??*IS*Q~&?~^1uo;06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFrWLh|_?$Svk|W3pK=vZ?>3N9?!xSzll`XQ=2-^BB_5T4-$7Hlc)|%n{j}*&b?XMoLeD%lFc=6`I+x@+)5TMWhhcdde?LB<"
        "e1u!X+wdHxs@|vawtwYkDTujAd|Zqch~k8qZA<MS1vzvg+Vov?N-;3}nL=GV4Z9kCz%K8<QD!K2u~-wS@|dE=Nh1tnO7pCSj"
        "IL@MaGQIFk~IuUVwW5C+UW?qRds?gZ~HL$NtNteWJ;N#Hw{ar@zj=IgZFEdP>zPM`n)&5r;80L;Pw007MOfB-%{JU##bn45D"
        "T<Ny`Si=pHL3K&*0B*JKM7LIRolNraGvI;SVCqMGFSMT+itbOh1#%Tt<9>xg0K#Wo%GtgRm6wb{iQ9@HB0R",
        {
            "kernel": "00003cbf0000e0bd c88988a9dda66b904f7604aa0f1178d7fedab8d6",
        },
    ),
    "midrise": (
        "iA7FW4GJ0x0RRC2QUL$}00000`~Uy|)&KwibN~PVLZRhW06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*K$RUc1H4_685tojPa(FM$A6%CyPz+c)l+P;vG&01jG1"
        "p{m5O}iLHro4pdcmNIu{1YCx6Rhg#v1QT{`cEZk+7N6A!<yN3K0)h4!7cu<eL_QCtS1U<<rYWIRXU1ev-Q)`nEh(Tq29)ozH"
        "bBSi^~F;aujL#glL`=ZWi#6IaIvS+@8<5yQXpV3F8(Q?#F!3ZNsP;&FCAI%dt;kK76W>e{#f005XvKc5)@4EoUl00Jm1VtS*"
        "<&(n=X7#$=mVS2M+!PBA0z|#y1;}J<@RN6%dKLY",
        {
            "w": "71ba7ba89a3133b8 8ac6b3bd74116b21e357321de3c274d7bc6eb1e5",
        },
    ),
    "mu-law": (
        "iA7FW4GJ0x0RRC2YykiO000007y$qP`Tzg`bN~PVzW{XD06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*K`v`j3k>BLfiszsl^VBTC;(#4Z+G8`Z8h7DP9Hb9IwR"
        "TxpwyYhP{QZ~_U2W^Zpp2erA1r4~q#lypX|-9pgB3ZEQ&3hfQQQ_SvH%vOFMXZG*7Zy;tkRIX()1<EJd~uy0+b~B$;b=W*0z"
        "ng6g}|iEq_Av+Mi*;?bR|D-pR$scprxG-V8kJ!A4Ap(N@uy6ysEZFhXQ!X;HqGIM~*AiewREkJ!y2n~x+no49?Yc=}AnS{D="
        "v6!xUY{@M$GAOM)l<@49{X9o-a9_a@FPmiLxwhyFb!eX~{o@>3X`_{<F7|l0qij{oJ#u!Of",
        {
            "w": "00000080c2f5e8bf d8084ad96c5ba1f64969fa60fcf1d049b8ca3a5a",
        },
    ),
    "minifloat": (
        "iA7FW4GJ0x0RRC2U;zLC00000{Qv*}*8l(jbN~PVg%&k=06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*L`0C|1((Ua5Lspr6@>dN0JIloP0d4hIqG<D=Q+!2Brd"
        "Hp@;oQ5slv`b6M<(*I9v>vIWt~OVrn`SlIAPGDT%?n#xXYctT66ADU}>HN_YFO&FYf(Ol(Eqo{ndO^CipIxO&iU|WOkk7iLf"
        "k1g(SYJg{^f3i$zg^;oJu8R1O&|*H8!OO4n8f2D19r3X`IkQ5!@kRq!H4kGy6qSq~8F|LQ2`AOHZE+u{H3{O{+?vkwg5K1u-"
        "qSBRCM<0+va=E=Hiikilak5RgHB?SnUlj4;)1fU%0V<&|jaSmPqq=$_O",
        {
            "w": "40bf80bd203e00bf b65528bbda2bc59cb45ac0f4c52e6b54317ff4a6",
        },
    ),
    "half": (
        "iA7FW4GJ0x0RRC2iva)t00000=l}o!xc~qFbN~PV5R>?W06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*gH@tu^tzigYsvhkw$t6ZjeluaNS;P&ibGdaFeS&GPj`"
        "fpz37fssR~z+1;*=f;u-6jGdd_0tJkYv)53YoXQ&WolF--zFo6S%tx@w?&n3lzAA!4MFI5={3fX98fLmYnlPSoH!2hbH}S)b"
        "W4E1P^<0p34xM5pfHN8B=odasH;E@M^L{edK|Wq{my{E)050079>uRr?#`wsvB;QzM;mhBf10Lp4+9vLWO>A-E^+Ke?wGi*k"
        "t>^#-UW)QH!XfrfBXK&jDp=PK-YdSO7mCeXJ)wE_<Q)()3ZN>m&D>fs>6|m0Zc?j6-w5Bqd`qzwrTQh1#jPvZ9eWTe7nNe^H"
        "f=#9w($s)$9?oL",
        {
            "w": "00005cbf00c08cbd c23f93c8eb2791d61b27390d5823fe260b6ec12b",
        },
    ),
    "wide": (
        "iA7FW4GJ0x0RRC20|Ed5000004FLcE=KufzbN~PV|8+m*06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*gH@tu^u0|2x)jc=o`o)7G437|-bG$OLa7=n(vhGLYWx"
        "PDe&|U%dqt3r$Fylo_H@ERxfkfw-X8#bA^y)dB^<c)j$TdICEi&v(^`{u7TX2sU|FX<Vc!eoY7IlaSo{ox=9BNpkV&qJj&{B"
        "?)5jl0n<cLvChqi9Z+eF!bLA3W-eQ@xh+OlMUD5fko=;Nz5ht$S`BF=J8ah|(mP<(kmTK(D57l!PXY>v&)0VNd1|AhKU0001"
        "(FMjUx|MwpN006+x|4f_#hX4=w1Uv!&N7taeHB@?xD&5;S1ZzpvsSrND-B{>W{qhKE;8bH29e+sbI*Rr~@`t2s5K_m8)xz%m"
        "knE|w$yehKNxc09Z-2o`Q@0=Q56N>K1z)!8hh%D@{zI~k5zCh??T2K(Z1H8w7)8e)l6q>-2Ce>(q{$EHsr@=eyko>YwJ$xL_"
        "_77(8og|6KO|!mo%<pALlRAXz}sKE{e|KT_(Sr3NX95SZa*H*HTpx6eA&`d`yC@*$A|#",
        {
            "w": "63141dc0e00f49be cf95833530b7b584ff93e73847cac2c35b33f26f",
        },
    ),
    "exact": (
        "iA7FW4GJ0x0RRC2!3F>T00000odEy<cLM+b&j0`bJkM2b06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFtcoMt0LgFViBE3KM?^|5(%!p-fEQ#7>#93;@s-l6}PgmS9BHw$4o&NaK*ivISEt4m-ySxWgwLD$d273)_2)D@!f_x<p{-|"
        "}QaUSe8=w_KgJojjZMCFGq6^Nv~NJeY-(rmM=EAD#O3A)|s!^EreQdza<4tiO!>)}XX1VGaK?q^C)5hZQPIR5p`IYX98P3u<"
        "`4kJyRo`gS$wvpjs-m;~-gN3?4s&6>7z9<)rApBgl;8l9S}sadJNhIM>Ftu{f0CZS-Ro-s=5drJ`Zf@n$3Q>Q4T`wkt~iibz"
        "n0~WH?Cq4Q%hw=nJxMMG`bg$<og8TzkqvH#?ZU|>56q$z0F9Pcsp#`^Y;y?biX*82|F(Z#h@|Df1clsz+?590m-E`JFyskh@"
        "O9eLeJP{ONK{XD0wdaN~KaT!Ycp_2SXuM)rKx=vYU88@~W3jVqX0E{@+l(gnWUNvNs+v501wuEJ|LomM2moU!+hf+^+tJ$q0"
        "00000000002Iy-6fs;6Qx5<D00000000009RSIlVk60W$w(vs$dFI~pa1~Cz`wu0zrMb`zrVk}zP`S_y#T9KRjUA1RjXA1s#"
        "R6009940RRF40RjL40RjO40s#R6009940RRF40RjL40RjO40s#R6009940RRGY-#lX0+rJ98SzW^)MRVx5hRjXA1w6d|VuB@"
        "r1p#cB^009620Gj~-0JsMa{`UX(2LJ*DMo!5B0T>0Ee!t)E_xt&LKA+F$>-BoQUa!aF@pwEQZ@1g+cDtQUr_<?lx?C=o%jI%"
        "791e%W;cmCv?RLA_Y&M(CW~<d|wOXx4qtR$I8f`Y4&1SQiOeT}bWU^Q+7K_DVFc=I5gTY>}*X#9qxm+%n%jIgdTCG;A#bU8o"
        "EEa3ETCG;Al}e>jsZ>?qAGm-1|NQ^<|Mv#~0000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000066Mo!5B0T>0ERp1}EfBygc|Mvg)2LJ#700000000000000000000000000000000000000000000000"
        "00000000000000000000000000000t7}*$pQfw1)5dhAGm-1|NQ^<|Mv#~00000000000000000000000000000000000000"
        "000000000000000000000000000000000000000066Mo!5B0T>0EvH_qUxPSWo|Nj2~00000000000000000000000000000"
        "00000000000000000000000000000000000000000000000D%8jF&jNHe*_M_?*D7k(O3wt^pasx>_p5gou|>=%5Kz?T{Hb_"
        "`*z=$`gI|;`Vz0S=X$!C<{j;-?Plo{1N!bs6gu}|lZEdq`@YJF<@L9?)=t2~>9u4C(B12JCcgKu6M*>e4Jy#*5&!_J`2QON8"
        "P7!l0Q1S%Mmsmu1K=OHfByde{{NT&008{I_&)#u0Kor?{{sL300000000000000000000000000000000000000000000000"
        "02+|Kk4u00030Fa8ez008j+;{N~u0093lxdDmJ#{>X<N^nGdgL(>fZgmoiZi`Wqyn<(n-+HHlgOaU+JbDUzgNdebHFUgp=aX"
        "M?=Y?*5Zie-XE~qb|ny|~a5}=E-1fXG=FRN0d%cq32(w#k*Z=y?~p|6sdA+Rp1#F!eP#GDJB;julhV8_MLlfJOgQ^_L3KDgV"
        "$ThG(a>A9)B1>5%7)5@CI@7n&kFv8-?BHM4$H`}kyslqV9RJ+^fRp18sP5;#3xcPAWBKg$%6!H|_>hUW3@b*9LD&x-Nc-^t)"
        "#^Y-Ff8qG}@Z96<KljuH03<smI~~3T^BXP$a2rn%xD-_egaf!3(iwvQTnPXlw;_B5ga_>+d?fh<H3bI_qzq#-tTE+3oi>3;t"
        "4p#n^Gh8$B|>vRk3noZ^Ezcn<T9Q!vo_aCok=S<EH76+Pbg3>UOsbbWoxBuC02=IJ5iWzyIPQD`)0de-%lTFkZB26P*JpPyJ"
        "y#F7ggA0kYu}0Elyuhm{wR<0su%P0LYL~0H6Q>zrVk}zP`S_y#",
        {
            "f32": "63141dc028ce00c0 61fcae1523c17704efed85d5b2737beef731dfee",
            "c": "000048bf000024bf 40479b6d6fc309419deab3af6285ad10333bf8e0",
            "f64": "abaaaaaaaaaad0bf ea5c669e15d21d1121a58dcae7139d568d1fd40c",
            "f16": "2bb4d5b255b12bb000ae55ac55a9aba655a1",
            "i64": "0000000000000000 507ea0d31e94f5bd31a5b894a75dfdff7212c4af",
            "i8": "0000000000000000 c74573aaeb4fec7a5004067aba6decca44618b42",
            "flag": "0000000000000001 6d569dc9b5e6f35546fb52e229de11450ca92f40",
            "i4": "cccccccccccccccc 257d9bfee2d654373218fd8391850a2220ea6e7e",
            "bf16": "48bf24bf00bfc8be90be50be00bea0bd00bd",
        },
    ),
    "zeros": (
        "iA7FW4GJ0x0RRC2Tmk?900000aRC4T2Lb>91OWg5%q2Ua06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFwIO_s(`DtR!Cex%gXF?6<_SFH{XX*qr4iJ{G(E{D6r`RU|mPHrtOyKfQK=$8pXw{iW;b0cNQ>a<b+l#{2!3&lRDgYut?pn"
        ";0VcNP2}pK(XD?!1HSO)IAZOKh+*9Ov9!$;CQszvj~t9_k;<Z}qO4I`;vJ(#2^^Z#F|-1YCZo$&f}#JA)|vQ+LidgNa+f2rE"
        "B*b4re;oZY{}ykkGzdhW7<ULii4h0>BYl22GkmKLWoUOJ<31KI*m#Ilc4A8rVm1<&XA7jJ@xdAq!v7ha-Q2np^0g`K0NzQdF"
        "CRdzI?(C?rp7S8Dl-(#<m<t-&zyCFpoZm=)!(?e&J78CsVMP+HsIMpZq$_cV(L)c_8*;XHMjv4iV8I$qB1zsJsxuy%fCit_="
        ";9v9+3KkzK<hN}9P)l)kzy8{3`TzhJ0000000001000000RR91009610003100001000000RR91009610003100000000000"
        "00000H3%1|Np=L|NjpFCTsu=4FLcDN&*0u)0G4O*P@jK039Bc1OO6W%q%I%VCH5;Ydy~m*2D<#oKDBG4HS{VaOV|F(+R6CKO"
        "F`n0R<ET0RRC20RRC20RR91000000000000000000000000000000000000000000000000000000000000",
        {
            "levels": "0000000000000000 61fff2faaf6ddcfa769eb8b37aeca30342bfa713",
            "sparse": "00803bc500000000 46b23930def7f02e1517e547759eaf1e18f47dba",
            "exact": "0000000000000000 61fff2faaf6ddcfa769eb8b37aeca30342bfa713",
        },
    ),
    "names": (
        "iA7FW4GJ0x0RRC28v+0T00000lK}t#nE?O*IspIx_$X0u06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFrWj9Id9Pa%;O>oG}GqbJ0+j=0OKZ}1VhM~XZqWhGlaGxtsPNj0K+od`5lUlw)_!J3)xGYvC8s3SMhL434%BtwvQA95W*Oe"
        "Q-nH{xnE&mV_0FTkG*AHbQbG2S=et%TlUCaP-7h~I&>GP4d_U8TjEj|pd|J|EtO&1-v%@n&t?2J#yzVFcuYeo6FtZ|7Zb{H0"
        "Ov>mwm0EYxTjuJy&SWErs#YymKS*%I@2%6x%Nu{*;#<C|WH7!nt+&Si5(GLetDArS@ElO7s(hp)22lk)~S3hg--@lGO|7_WO"
        "jh42$#2#t1xQ^MYHrggj*TI=Fs2Wi*b@A&b*L)iWTr!iXHy8-WD6N}_jS}(12dpn|yR1pAU8j*hSI`qK3vG=5UY45UfU+!WU"
        "mRv3OX!fW!B0SKDpC9wpV;D?ReDc(iS>*4`+iCTfmlp3iH1PxICUy69Lc!t_05z!m?4cF_0H}*UzqULK4CSJr4FF}o9^)^#5"
        "@;g1L1p1!bi-Ls3=xT$C|V4OeMX3c3SNZp6aWCIi$A}%JPZssi=Yhvg|ziR|A6wss6(gGwLr$6*Qb3cUMu_%rwAc0P=Ux9#m"
        "*1",
        {
            "z.then_branch/o.then_branch/w": "000040bf000080bd 8a477b31441528bb6a78d6e71e4fd3f07b8faa67",
            "golden:F/k": "000000000000e03e 62d67a2643da6ccc6f3bb89c5be82617c8153116",
        },
    ),
    "shared": (
        "iA7FW4GJ0x0RRC2>H+`&00000Gywnr0RaF2=>Px#r;X#U06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5$ngHqXrZ59TX(PWNQuvyFuhKMIMUS~uC3NLn>a4Gx#>j+7s6i_a8Aa8r@egdK13G@=4DMHvI~qQ$M*"
        "4`3nrW`+<V@-mouYW1D3bDDP&wgS$=X_)>`IlcvMk)Rk;2Ln-&I^iSmy#3{pe{HX8J#&-#E>P?o7(8-p=OhtxL7>y|`|jFWh"
        "{^C926>qe3edof=1`&|4lE4M;wJ`eo8MQGj-E{aocYHm#jtROL~@{lZ5TS%*%+AkQh$7SuS-%!q@oK!?y=kuFHk%AH{O^A*4"
        "et$uIXm}X+-J{<!WTr4o2115Y~rc1Q#_#@L#G$aH6<}QNZ%mBEn|G)pg|Cj%l|NFoHm;aal`@jE}{}&_w#tQ=goDt+xbiP3m"
        "0+m<Y=2P1Lc4-75V2-f+$4zuwJrMz}t`O~6)08tq63%SL{9w8Na|RoFTsf_~@ltc}E)pkAr>5nv#D)NH<8EB4+&FPc6*#!@{"
        "wChVl)8)pms4<a8s1;wOgyN%7;h-`HI~u*1ir&^nu_3dQBG4Byg%P69HyA~YzEacbg}y4oxxCgh`v@&EHf6GAKeK2qjuP8<g"
        "_tTk@&!Uzb;yaoHk7g6BKy=+UDD#RJdrulrJ!G_MTn63_65*7E9>z5mw*W#Jis|m}a1KEe=uid_BAB8G=~$NXF6+G{4rOo1G"
        "ANWPVgD>@f0L9l6N)e>T=eq_PbXpVWYRo9<U)Tr?@l5b!wtwx-#A6t+Zyk_+&D(q3Dc%r{^<6ep<g?H1j%gt>e2l|o>03C>>"
        "7JUf@F7hV|jB!<xI^t`fSnR(E4Kt56jtUk^f8<mLnTlUi;WU%SdoUlN7cdk`F95Mxp9?S",
        {
            "first": "0000c0c0002447c0 b8936fb3be6c6c9817f088f82fddabb26e757ba5",
            "second": "002094bf00303b3f 66c71b82d36a4b612dcf4759d45de518be062216",
        },
    ),
    "bare": (
        "iA7FW4GJ0x0RR91RR91000000F#rGn8UO$Q7XSbN+JWPKdm?RRbYWy+bYUVodwnb-aA9(Eb0RuhU3~}$Iu8m93ITW$0eK<=L"
        "1J?f073!~8~",
        {
        },
    ),
    "kernels": (
        "iA7FW4GJ0x0ssL3cL4wZ00000<p2Nx(EtDdNB{r;n|7!?06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^@Vg6-pTj4~df5P)`+rek&0g(GkT!b!b+*1sM`@I-d=5J=ogayQ~X2~e~d^aYp-r>"
        "&<ffmrBcDzRP&Mt~L(aO|NBY_&Lw*&f>0(9Lh*@Q6{ym8JH{Hmhn+&7|eDwyoOc&*TU>6OS4|F_0EIJ*aj<`j*Vfl#(3u=aA"
        "3^ODfrtQ}?la=;T4;Ct+G3==B5o-zqgi-4T{J|K{#!0A&#H0|0R1Fvp?F<u}<DkuM@3WISOI0Enxqs`>*20OI|>VpMV_wTsM"
        "I=E3{Z3f}bwV6n2dRK@o4GB3$%cs1Bb7XNX>D>s^2$v^T$B|x?(Jd@_`PH-*Z%_a!b922i{E(EL-&tL2@pV(m",
        {
            "w0": "000040bd000040bd 685fb32f5f82e0c113d785573e99d91d66c0a60a",
        },
    ),
    "matrix": (
        "iA7FW4GJ0x0ssL3x&Z(H000000RaF2&j0`bdH?_bq<E+T06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^>S=I5HnrP9}-;vd&`Ym#W386)ZffJPoTz85N(1p2MfLXZjF;#VktL+88v7;>?t)^"
        "UL_3)l`$Izn{x6(51|LZ%eG5Al;GyG4H0;^}KPTnQ-zM&#G1Z>TTGXDMaNO^spCa%Qx=v>vTTLUyg$(e0co-75sE&VPbWwQ2"
        "J&o8GkVm(Q&uQ99H{AA6?r+mg$WnPzeudD>_GejRxd*FRg_iR{x%u2;lrpTdN+bzE1!M=C_)|FvWw03||V1B_?gVSw!yA@(^"
        "35&&R~8G`}o{xD@G!*uox9|@Oo+^*Y$OMq!NecQA~z~F1uGrM`9^${Mr@<R@&;D+6j0(r1?Jx<+ivj7i_f~-giyJayUj_I{G"
        "z)(s+Cy;|R&;D`S&eyn;Uh6KauKVrD0u}+wzI*hJQ>vn^NSOgB-dak~?JYg^c+V<>(*A`Hh>Q",
        {
            "w0": "0000a0bd000080bc 5d8dca0cadc6a6e6fafd73ce79996f20ce234d0f",
        },
    ),
    "far": (
        "iA7FW4GJ0x0ssL3Tmb+800000{r~^~%m4rYdH?_bF09;K06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^^nBgl)QQ8Hg-W1|uzry+T0aR&heL3Q!Q=pRAwR&ySNDyNYHT@||#%py62tx&JASy"
        "7+8r7n8sr2|%Hy~Wn__y67rd;u*c4htEAUUOZBN~HVc0P6l7mi56Q39lza#tzFy2Ke7TCyzRXr8c74Hn$x_Cy^x--p8-}`ee"
        "n!p-2JjKLOQ}k#vJ`+x`v~5eZK}upfXoZ8mYj7Tg4v+41Zg&BUpI)0^XM;5L;JvXkIzKmVZ;Z~!L43H1MhNq`{$|KET7grfH"
        "|-`~b!#BpvT7#W;S-#=nuYHv%k-H0HW-`}r9n}JzoA!D%6s<T*q",
        {
            "w0": "0000c8c500000000 16832a45447c0294d30537d01aa2111f0eeb79a7",
        },
    ),
    "bundle": (
        "iA7FW4GJ0x0ssL3dI10c00000E&%`lHvs?u)c^nho<f9!06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^?EdFukF1zynQ76DhQgSI^EFCy;&8Nz@B)xczn9oiY~RH?qlbn22YpJF|a{1LwY`b"
        "Qy&3oUlu*4rcbz4Pr`?`gc^UuQxXxc<{(CA`1GP4j80Gj^oyvMSnV6^Z##Er^j&**ari5m>d)rB5OuUCc#S6vi8ls1_!@x50"
        "zHNiz;T3o<cs(hq|<{r2!kF9UM5J{)JBs{9f8Sq~T7+0Ho+*YNiMy`gxKhAG@CPAa23pzAdM*>djW_od@#dFbdAl3ohtU+MI"
        "V++dp(i@7eIi^`KJAP#s@x*iMXL$VM5%K!8ampvgC00SH*AON5bD<etBkUx;ad0qM3e|2mhb*T)6qf}80`96^i^=A",
        {
            "w0": "000030be000040bd 03aaa3d9ce5ac0e9a828b11413bbdf6f40a26fb5",
            "w1": "",
            "w2": "000080bc",
            "w3": "0000e03d000000be 8cd18c49b53c4149271d38a8f09c7da56d970ded",
        },
    ),
    "lanes": (
        "iA7FW4GJ0x0ssL3A_M>c00000>i_@%)BpegNdN!<h_Skb06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^?}cUjLKQeY_m420Qcf0;N!7KZ*!fCtBhcZ-?ROooNa)jb6GdRIFQr)T;Y9mu~l9|"
        "K}>(z`p$>B<fp9O4*D;iWZP@q;+!Y!i<6XwWOiRN(6$PU`SV^b<I2S`wq^`FuSwWe%a}v?WnO#d-~iv_lsuw{nsKL{226D=p"
        "{k7eMqRAvQao5e>SW;p#AdmSf^G=SbwUu<H0AmmL0rGU5MT*x&#|2C<&dz;!SEe;**^|9b!c000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000Pz1k0000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "002^{~iDU000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000Q`Rs0000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000002~zXt#S000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000RP_u0000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000004mh?*RY+000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000!2kCE0000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000N??DC{;yl+XFj0alZ"
        "F8004RjB}YBZ#|}`OOuE>=kPc9sOuE>=kPf_x$HCDmq4HjkDNB>KMVUWayX4Y$WWDC#syP^+?7a",
        {
            "w0": "000040bd000040bd 80b050da7044d885432000c8b4c0f8c24dd72798",
        },
    ),
    "grid": (
        "iA7FW4GJ0x0ssL3W&r>I00000?*IS*>i_@%Q~&?~sb7fK06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFrWLh|_?$Svk|W3pK=vZ?>3N9?!xSzll`XQ=2-^BB_5T4-$7Hlc)|%n{j}*&b?XMoLeD%GxxRaa8YdRU5bx9yFeeowhSX6y"
        "YNa-|^L27dP`Jo|BuTuLOo-*vc~Y<SEWzxa}fe1hbvNy9WpQ*OQw;r`)so<WRk1yEkm%kMFWs@+hD~TnJ$x8w6Sy-x`MBH6_"
        "sii<l*P53JshOaTpgDhNXYFJ(VrcC{OCBCZwb2|AkI)WqI31C#&peo)W=0GNaSzyH7g=l_TQ4*&pvSB~Q&AOM(~a}qdA02JG"
        "VCISFAiIEsA1hP{6rxMK(+U5iO&<rop{6OA{iZnH2j8OF)kWWmuL*V2*$buOi^8^",
        {
            "kernel": "87a936bf00000000 e56201cbc74e6d0bb3dae2b89da8c45c854a0826",
        },
    ),
    "grid columns": (
        "iA7FW4GJ0x0ssL3XaN8K0000000961-~a#sbN~PV#XXMa06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8^|j&d06XG<SDg^"
        "jFu+kPXH4(E=_9Vfj|@1DhUeX)&~7`xd)3?Qj-VCqjq>zrKpdtf~*gH@tu^u450h$pP(G>d36SL$YiY7=p}7IMRs_+@ngwp|"
        "HCvcrODajFP;oDQawOJ$tl!-Fah+p&X=o`5x_T9@rAE7`Cq66mDp}tC=!NgWP7$N_o>LWlNesfSx2dM5euZ4!a~G?+#lz0mQ"
        "8B^|{dm5BWykH8^^@e-NII<>OKgZAb+UbxrE%s1Pbhhe*VB%G<#Kx)_qVrxp_<BO9S@9T409#kBGO005Xh&f)*&{{aCD0RRv"
        "HVA|3E0GON4fl0^#4DdEa#~A<}l;Y+hRQ#}x`X)H?SbCPp*d}bwK%j#HxmConiAA6S",
        {
            "w": "b81e45bf177caabd baf52ff679db9d3d99375a22c32e3b47bfd31252",
        },
    ),
    "trellis": (
        "iA7FW4GJ0x0{{U4l>q<%00000?EnA(=>Px#M*si-z7?y906mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(;iyfY>SOK$>EI(jVPFi#I1d2LyY{^%k#W~o<VUjGAloW0E|7l$)t(qkgD0PpHf=x#TJ2dr`Pg*2K?"
        "iqxA9^JUGhPyfNQUV3Z#(M6XmR<TMD3z%_*`w7!KegD+|Q%_hGNATF6ala#~Kpzy^K}bXskrHpDzJ7x6N>bTq^Us**F-)j36"
        "1=UAXe$Kfn;h!x`=gOYEPobSC7%BgWbmgVNTt)2jeR=2AEP|L23$U;qH9>H7cE|4RTM>3Nzi0!0vT1HkzIXbJxBU9<_ve+2<"
        ")$N)ydUv<?*`vU|3PameY0w(Bka#1jzK8Yp9^EaAv-K5saDF&J2hvuBn|H8Vu1}NTYGy6R#HBc+=85Fp%UEy+~58yaGSzzU#"
        "hYVJTPA|G{0DK2|_?@cxfVCV=xc",
        {
            "w": "0000c0bd0000c0bd 8368ee8f54d137eefd803ad132c0ad9500249dee",
        },
    ),
    "trellis matrix": (
        "iA7FW4GJ0x0{{U4j{yJx00000`~Uy|(*OVfbN~PV%eZQe06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(;iyfY>SOK$>Bsvc)^P$2zedX!VfbLOp<9;8?TSQvNKS(9i=Vfdit|l4gApuaL4WLODFlm@FDdL4d&"
        "?&?RvVUtnFgY>SjuQUqDp?HihW$j?+STm_s@F`B=<~8D6qK~r@Qg6Oomk+-w(n%mAT-!^ox?%-9s-egnHOgWo`#NNMmkm*4O"
        "NrVoZ6FRAd`pp_dKU<48F^G7tZt@SU&!wW1&|OmM=CL|68Et#&LLVPhNknuO6d?_ab3^Z()>A`}1uk3&L&JOEVxE5MUbSmYL"
        "4vo5EL0fT}*ocls+t_tnTFAq+^e(AlOkxOy4wTad;rP(d+<`NVUeIpjxk~ehBbdG27l`=%w*q}Nqxpw8C#&gR#1nVArz>iVE"
        "OnVI3&dNP`Fni6R&?3?",
        {
            "w": "0000a0bf000000be de1e3a472d6b8e1df642908b2c8bebd3c39bdcb0",
        },
    ),
    "trellis order0": (
        "iA7FW4GJ0x0{{U4L;(N*00000`2YX_%m4rYbN~PV#Mn3K06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(;iyfY>SOK$>E!!EW1_Yfo0x3%?LX;s=Qi-&`k*+uKuo(T$4GI(O>U7r*4*{f2V+BGp?zemiiEq@++"
        "6_Y3`8`OUuc|@7%XV`EsR|00^ajuOs$j;@+fAzf&`EqE9K8;#tEN`@e0s1cz08?z$?<)g~U{{(Asin%<rh2Z-jhkm)>KilI%"
        "5t8)qZFH(QI|L^u)6&hpfH|3#OsG%_C&hhX07+ni}I<1N=btHrDiR{GLR$M_Jj|M2C)j{pFe-TNI13hpXd!xWKC?<&HeW;Pj"
        "FWHt*Gk;V7}u%H4FS%^Rj",
        {
            "w": "9a9999bfcdcc4cbe f23ad557b1ee7dbe2f7407a7d618fb262bf6565c",
        },
    ),
    "trellis lanes": (
        "iA7FW4GJ0x0{{U4>I?t?000000RaF2(*OVfbpQYWUzC@&06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(;iyfY>SOK$>DymFW?}Rs?64c|a>7m8W(@;ul1+_C8|iFOAO7B5NCU@8&K6cl#Ap>w5PdCdV?^6Gxp"
        "n<z6!^pog_tK{0TryYR;cy0&Ce|~E5a&Cdd*4Ct@V@&OW<}Q>Uh|wY1w&RBPq&ljq(oJQL(s${CrE#;tp}@Mlv`JB^x5v3)|"
        "p(318bc5%4fku``tGu?weP6STnxdp5**(Sc#uQ55Bts>Y4Oeh`By9*5<ytYd9M2EJ4ngcS|x|BMcj08IuU#Q$IXzu*!80002"
        "-|7XYJ@pwE40O;}m9l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal"
        ";Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;"
        "Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2"
        "fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB"
        "6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6"
        "R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s"
        "{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`"
        "2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c"
        "$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$"
        "iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>"
        "-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S"
        "|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|"
        "K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{="
        "Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@"
        "}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}"
        "F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z"
        "|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|"
        "91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L"
        "*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*"
        "|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9="
        "pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l"
        "{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{"
        "~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~"
        "dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u"
        "&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qK"
        "x-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY"
        "-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)z"
        "XS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~)I{^RR0sMal;Qu>-|L*|&e+"
        "TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^pcL4w20r>w8;Qu=S|K9=pe+S"
        "_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2qKx-vRu82jKrZfdB6R{C@}V{~dt;?*RV41MvSH!2fpu|K9=l{|?~"
        ")I{^RR0sMal;Qu>-|L*|&e+TgY9f1Gu0RF!N@c$ja|91fY-vRjl4&eVg0RP_s{C@}F|2u&H?*RON2k`$LfdB6R{=Wn8{~f^p"
        "cL4w20r>w8;Qu=S|K9=pe+S_IJAnW10Q`Rk@c$iv|L*|)zXS099l-y00RP_s`2P;z|2yFS?*QMQd&~v^004u7Zcz*X005o{b"
        "J98j001F$j1UO`008pKQFVi{^}p4cHq`E1wQk}P4t|eA+Fw%Q^4zuMl%k}2?Lkf<^^FModb6VQAvN+_H=S`q@eST6ot`nkJx"
        "wv>UH~1%NFJEC+12JD4QdxB_$)fQciSf=bP=^O)|tp52Z$bCGf7JHgf8h801oo(s2_09B_MQ&gX6#XG15&`-z5So_F(e(th_"
        "<SxM~5dw5tv+S5NJDh_E?YqvC{s|8@R~=zrttkQ6b@27!6<5CeSqIy02<K00nyOcVvyL%0b`;e=VKv(|ujgapwS1=GuhaYkT"
        "~%93`aTuZEf0u1@4E_GW$s6dA;;|&J}SjsK>e6pA5g$Z4n@nBx8ZT+ov&#jBlNB(zC2tI!YdlgOS1-|qei95eFNP}ZKfwgA!"
        "C1_kR5GtLQMCq?W>+wh-Ara1lzv5CEeae@Qa>`PeGlOs+ai92aLj+TLj;TMer+{^_V-Tw-v(vah2|!@`^skt>lDeG?6MCt-m"
        "e%(?PLO>XCc<!emgyN>HC`x{#^C-5a_;sg0AFuPIUz51LJ={p+;NM-YQfF|=-=sh(pN_;E{ze%Hg#M0h*lLTFZDXfLW-?IJ2"
        "<!#^P;-CD3u!pHFn-umX8g7>iBud&idm+t_9Up2@aJ7aD#00<+yYPgii$bF`sOn37%g<#0PRYG!^Cizj*YtqC0bY5W}(~ymi"
        "{bUNH",
        {
            "w": "9a99193f00000000 42b8958e1213064bb66daf0980e8d4c28af395c6",
        },
    ),
    "steps of tensors": (
        "iA7FW4GJ0x1ONd5jR61v00000E&%`lJplj!)c^nhnsX9-06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(<2`&nsDk@1m~^?EdFukF1zynQ76DhQgSI^EFCy;&8Nz@B)xczn9oiY~RH?qlcvO4n$|Gifxx>FQo{"
        "r?o44Q;bAWx$))X9Pr3?`WIT-a4L09IK;R7)2LyM!t|FdbGnKQh#+05U8?di}`{F<WMgv2RLV#I%Dc8@H_Dw2ar#9|X7(S0z"
        "#>;+;yaL!S)^5z)4@ze+G%j#pG+wn0Dik8-VM97)+z-wLaZgv8UnGYno?sN);;krWtX#-3k4kml$PAUsKC1K_ix?L0e=Oc+e"
        "Ta?lOoSDY|q+1GJQTfqkWg#~w~&ra5tfB&)V;8_3wnC<`X|L^|?|33f#9smFV2O$;!0~{tG0H6;mBT2}RKaj(DUHRO9b!;DX"
        "sSJgqR8b81K9LReX8",
        {
            "w0": "cdcc8cbf9a9999be 731ad7cfd39abd5f8e52d517dca37f352e0054b4",
            "w1": "",
            "w2": "31372cbd",
            "w3": "556d7d3fc3d090bf a0ce0d10aab70903f70a26a18936353a9cfcde43",
        },
    ),
    "32 states": (
        "iA7FW4GJ0x1ONd5qyYc`00000?f?J)>Hq)$M*si-3tO2_06mD!fb_127{eGv3-?tw^KaR(%dtbkVe`TsE8}+3o&poN@p}GlC"
        "kAJw!3;iYJjEWVYqw5(;iyfY>SOK$>EI(jVPFi#I1d2LyY{^%k#W~o<VUjG(26k#Klq-;aMDKY^_(H{UnB58nN9Jrxo%hYBB"
        "6<G*Ffm4?0+{UcSu7mX2HFe0uL5JJ+#_v8g`kMwN$ag6;t#FY5Sbg*m*pQOeX7q{5Q^l%V~ms=hab6YW;#-nXwdpNJ5|EzZ<"
        "_hkA`7-7esLpn`+-;D6KvmcP;Y1;_uPBG;Jqbm5s}+g;@&^i~lf@n*aa+sOkFu)Bj5VAnAFUE&?SG@G0{@55H6i6)Hc))KNk"
        "S!Gu8pknpeistfXevjI-Y&sU)iXt~0Zr-M;B(t|uc4%!aHEQ*q0)O)wMDLlqGT<W3sB}(U;+8m#Y#Yz_7={?eKPD2-&-ovW="
        "-n_r}xpgWmTvI~863mHe<iu9}rpF?E<cM0L+^t8%5#8=A",
        {
            "w": "0000c0bd0000a0bd a750a5634688a54b4ea66330a31899f4d74412d9",
        },
    ),
}
# end of golden files
# fmt: on


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("decode_enx", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decode_enx = _example()


def _file(name: str) -> bytes:
    return base64.b85decode(GOLDEN[name][0])


def _assert_same(data: bytes, path: Path) -> dict[str, str]:
    """Both decoders give the same names, shapes, types, levels and bits, which are returned shortened."""
    path.write_bytes(data)
    tensors = decode_enx.decode(data)
    values = {}
    for part in CompressedModel.read(path).payloads:
        levels = part.levels() if part.row.coder != "planes" else {}
        for entry, array in zip(part.row.tensors, part.arrays().values(), strict=True):
            tensor = tensors[entry.name]
            assert (tuple(tensor.shape), tensor.type) == (entry.shape, entry.data_type)
            assert tensor.data == bytes(array_bytes(array, entry.data_type)), entry.name
            assert (tensor.levels is None) == (entry.name not in levels)
            if tensor.levels is not None:
                assert tensor.levels == levels[entry.name].levels.ravel().tolist()
            values[entry.name] = digest(tensor.data)
    assert list(values) == list(tensors)
    return values


def test_every_case_has_its_golden_file() -> None:
    assert list(GOLDEN) == list(cases())
    assert sum(len(text) for text, _ in GOLDEN.values()) < 19_000


@pytest.mark.parametrize("name", GOLDEN)
def test_both_decoders_give_the_literal_values(name: str, tmp_path: Path) -> None:
    assert _assert_same(_file(name), tmp_path / "golden.enx") == GOLDEN[name][1]


CONTEXTS = (
    "kernels", "matrix", "far", "bundle", "lanes", "trellis", "trellis matrix", "trellis lanes", "steps of tensors",
    "32 states",
)  # fmt: skip
"""Files whose models are fitted in floating point, which may differ from one machine to the next."""


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_coder_makes_the_payload_of_the_models_in_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "golden.enx").write_bytes(_file(name))
    (part,) = CompressedModel.read(tmp_path / "golden.enx").payloads
    layout = Layout.of([entry.shape for entry in part.row.tensors])
    levels = np.concatenate([tensor.levels.reshape(-1) for tensor in part.levels().values()])
    head = part.data[part.row.steps_bytes :]
    states = TRELLIS_CODERS.get(part.row.coder, 0)
    model, _ = read_model(head, layout.sizes, states)
    assert encode_contexts(levels, layout, model) == head
    assert (model.shifts is not None) == (name in ("kernels", "lanes", "trellis", "32 states"))
    assert model.contexts == {0: 1, 8: 2, 32: 4}[states]
    assert states == (8 if name.startswith("trellis") else 32 if name.startswith("32") else 0)


WRITTEN_TODAY = {
    "exact": "3fd9130f07dfcdbd",
    "midrise": "e49b6099e793ad78",
    "minifloat": "708a92c1f1b73747",
    "mu-law": "f2695d67a970e207",
}
"""SHA-256 of table, graph and payloads, where files made today differ from those that earlier versions made.

Metadata say how many bytes weights had that were not float32. Exact tensors lie in the graph where that is shorter.
"""


@pytest.mark.parametrize("name", [name for name in GOLDEN if name not in (*CONTEXTS, *WRITTEN_TODAY)])
def test_the_writer_makes_the_golden_file(name: str) -> None:
    """Byte for byte, but for what liblzma makes of the head (and its length and checksum, which follow)."""
    golden, today = _file(name), cases()[name]().to_bytes()
    assert today[:12] == golden[:12]
    assert today[24:32] == golden[24:32]
    table, graph, behind = decode_enx.read_head(golden)
    assert decode_enx.read_head(today)[:2] == (table, graph)
    assert today[decode_enx.read_head(today)[2] :] == golden[behind:]


@pytest.mark.parametrize(("name", "digest"), WRITTEN_TODAY.items())
def test_what_the_writer_makes_today(name: str, digest: str) -> None:
    today = cases()[name]().to_bytes()
    table, graph, behind = decode_enx.read_head(today)
    written = json.dumps(table, sort_keys=True).encode() + graph + today[behind:]
    assert hashlib.sha256(written).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", GOLDEN)
def test_the_restored_models_are_equal(name: str, tmp_path: Path) -> None:
    (tmp_path / "golden.enx").write_bytes(_file(name))
    CompressedModel.read(tmp_path / "golden.enx").write_onnx(tmp_path / "package.onnx")
    restored = ModelProto.FromString(decode_enx.restore(_file(name)))
    assert restored == ModelProto.FromString((tmp_path / "package.onnx").read_bytes())


def test_the_files_hold_what_they_are_for() -> None:
    rows = {name: decode_enx.read_head(_file(name))[0]["parts"] for name in GOLDEN}
    assert {row["quantizer"].get("axis") for row in rows["channel"]} == {0}
    assert {row["tensors"][0]["name"] for row in rows["zeros"] if row.get("padding")} == {"exact", "levels"}
    types = {entry["type"] for row in rows["exact"] for entry in row["tensors"]}
    assert types == {1, 3, 7, 9, 10, 11, 16, 22}
    assert {row["coder"] for row in rows["exact"]} == {"planes"}
    assert [entry["name"] for entry in rows["shared"][0]["tensors"]] == ["first", "second"]
    names = [entry["name"] for row in rows["names"] for entry in row["tensors"]]
    assert names == ["z.then_branch/o.then_branch/w", "golden:F/k"]
    assert struct.unpack_from("<H", _file("bare"), 10) == (0,)
    assert _file("shared")[decode_enx.read_head(_file("shared"))[2]] & 31 == 12  # shift


def test_every_flipped_byte_and_every_cut_is_noticed() -> None:
    data = _file("half")
    for at in range(len(data)):
        with pytest.raises(ValueError):
            decode_enx.decode(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
        with pytest.raises(ValueError):
            decode_enx.decode(data[:at])


def test_values_outside_a_quantizer_are_refused() -> None:
    for level, quantizer in (
        (0, {"kind": "minifloat", "p": 4, "q": 3}),
        (129, {"kind": "minifloat", "p": 4, "q": 3}),
        (31744, {"kind": "half"}),
        (1, {"kind": "none"}),
        (501, {"kind": "mu-law", "levels": 4, "mu": 1.0, "x_max": 1.0, "exponent": 4.0}),
    ):
        with pytest.raises(ValueError, match="outside"):
            decode_enx.value_of(level, None, quantizer)


def test_the_example_is_short_and_needs_nothing() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 750  # a third of it is what it refuses
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= sys.stdlib_module_names


def test_the_demo_network(tmp_path: Path) -> None:
    compressed = enxuto.compress(DEMO / "digits.onnx", bits=3)
    _assert_same(compressed.to_bytes(), tmp_path / "digits.enx")
    compressed.write_onnx(tmp_path / "package.onnx")
    (tmp_path / "example.onnx").write_bytes(decode_enx.restore(compressed.to_bytes()))
    scores = []
    for name in ("package", "example"):
        session = enxuto.session(tmp_path / f"{name}.onnx")
        place = session.get_inputs()[0]
        images = np.random.default_rng(3).random((20, 1, 8, 8), np.float32)
        scores.append(session.run(None, {place.name: images})[0])
    np.testing.assert_array_equal(*scores)
