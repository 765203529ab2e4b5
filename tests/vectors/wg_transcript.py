#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The transcript in dataplane/wg/wg_noise_test.c, computed from nothing of ours: the WireGuard
paper's formulas (5.4) over X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439) and Python's BLAKE2s.
Prints the four vectors as C."""
import hashlib
import hmac
import struct

P=2**255-19
def x25519(k,u):
    k=bytearray(k);k[0]&=248;k[31]=(k[31]&127)|64;k=int.from_bytes(k,'little')
    u=bytearray(u);u[31]&=127;x1=int.from_bytes(u,'little')
    x2,z2,x3,z3,swap=1,0,x1,1,0
    for t in reversed(range(255)):
        b=k>>t&1
        if swap^b: x2,x3,z2,z3=x3,x2,z3,z2
        swap=b
        A=x2+z2;AA=A*A%P;B=x2-z2;BB=B*B%P;E=AA-BB
        C=x3+z3;D=x3-z3;DA=D*A%P;CB=C*B%P
        x3=(DA+CB)**2%P;z3=x1*(DA-CB)**2%P
        x2=AA*BB%P;z2=E*(AA+121665*E)%P
    if swap:x2,x3,z2,z3=x3,x2,z3,z2
    return (x2*pow(z2,P-2,P)%P).to_bytes(32,'little')
def pub(k): return x25519(k,b'\x09'+bytes(31))
def rot(v,n): v&=0xffffffff; return ((v<<n)|(v>>(32-n)))&0xffffffff
def block(key,ctr,nonce):
    s=list(struct.unpack('<4I',b'expand 32-byte k'))+list(struct.unpack('<8I',key))+[ctr]+list(struct.unpack('<3I',nonce))
    w=s[:]
    def q(a,b,c,d):
        w[a]=(w[a]+w[b])&0xffffffff;w[d]=rot(w[d]^w[a],16)
        w[c]=(w[c]+w[d])&0xffffffff;w[b]=rot(w[b]^w[c],12)
        w[a]=(w[a]+w[b])&0xffffffff;w[d]=rot(w[d]^w[a],8)
        w[c]=(w[c]+w[d])&0xffffffff;w[b]=rot(w[b]^w[c],7)
    for _ in range(10):
        q(0,4,8,12);q(1,5,9,13);q(2,6,10,14);q(3,7,11,15)
        q(0,5,10,15);q(1,6,11,12);q(2,7,8,13);q(3,4,9,14)
    return struct.pack('<16I',*[(a+b)&0xffffffff for a,b in zip(s,w)])
def poly(key,msg):
    r=int.from_bytes(key[:16],'little')&0x0ffffffc0ffffffc0ffffffc0fffffff;s=int.from_bytes(key[16:],'little');a=0
    for i in range(0,len(msg),16):
        a=(a+int.from_bytes(msg[i:i+16]+b'\x01','little'))*r%(2**130-5)
    return ((a+s)%2**128).to_bytes(16,'little')
def pad(b): return b+bytes(-len(b)%16)
def aead(key,ctr,pt,ad):
    n=bytes(4)+struct.pack('<Q',ctr)
    ct=b''.join(bytes(x^y for x,y in zip(pt[i:i+64],block(key,1+i//64,n))) for i in range(0,len(pt),64))
    return ct+poly(block(key,0,n)[:32],pad(ad)+pad(ct)+struct.pack('<QQ',len(ad),len(ct)))
H=lambda *a: hashlib.blake2s(b''.join(a)).digest()
HM=lambda k,m: hmac.new(k,m,hashlib.blake2s).digest()
def kdf(n,k,i):
    t0=HM(k,i);out=[];t=b''
    for j in range(1,n+1):
        t=HM(t0,t+bytes([j]));out.append(t)
    return out
def mac(k,m): return hashlib.blake2s(m,key=k,digest_size=16).digest()
# self-check: RFC 7748 5.2 and RFC 8439 2.8.2-like
assert x25519(bytes.fromhex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4'),bytes.fromhex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c')).hex()=='c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552'
fill=lambda c:bytes((c+i)&255 for i in range(32))
Si,Sr,Ei,Er,psk=[fill(c) for c in (0x10,0x30,0x50,0x70,0x90)]
SiP,SrP,EiP,ErP=map(pub,(Si,Sr,Ei,Er))
ts=struct.pack('>QI',0x4000000000000000+10+1750000000,0x17000000)
C=H(b'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s')
h=H(H(C,b'WireGuard v1 zx2c4 Jason@zx2c4.com'),SrP)
m=struct.pack('<II',1,0x11223344)+EiP
C=kdf(1,C,EiP)[0];h=H(h,EiP)
C,k=kdf(2,C,x25519(Ei,SrP));s=aead(k,0,SiP,h);h=H(h,s);m+=s
C,k=kdf(2,C,x25519(Si,SrP));s=aead(k,0,ts,h);h=H(h,s);m+=s
m+=mac(H(b'mac1----',SrP),m)
m+=bytes(16)
assert len(m)==148
r=struct.pack('<III',2,0x55667788,0x11223344)+ErP
C=kdf(1,C,ErP)[0];h=H(h,ErP)
C=kdf(1,C,x25519(Er,EiP))[0]
C=kdf(1,C,x25519(Er,SiP))[0]
C,t,k=kdf(3,C,psk);h=H(h,t)
s=aead(k,0,b'',h);h=H(h,s);r+=s
r+=mac(H(b'mac1----',SiP),r)+bytes(16)
assert len(r)==92
T1,T2=kdf(2,C,b'')
def show(n,b):
    print('static const char %s[] ='%n)
    x=b.hex()
    ls=['\t"%s"'%x[i:i+64] for i in range(0,len(x),64)]
    print('\n'.join(ls)+';')
show('kat_initiation',m);show('kat_response',r);show('kat_key_i2r',T1);show('kat_key_r2i',T2)

