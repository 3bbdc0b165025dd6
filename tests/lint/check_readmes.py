"""Each folder has a README that says what it is for and where its tests are, and there is no other top-level folder."""
from common import ROOT, files, finish, read

TOP = {'boot', 'vmm', 'vmx', 'mm', 'ipc', 'arch', 'tests', '.ci'}
FOLDERS = ['boot', 'vmm', 'vmx', 'mm', 'ipc', 'arch', 'tests']
findings = []
for folder in FOLDERS:
    readme = ROOT / folder / 'README.md'
    if not readme.exists():
        findings.append(f'{folder}/README.md:1: is missing')
    elif folder != 'tests' and 'tests/' not in read(readme):
        findings.append(f'{folder}/README.md:1: does not say where its tests are')
top = {path.parts[0] for path in files('*', under=('.',)) if len(path.parts) > 1}
findings += [f'{folder}: is no folder of the design' for folder in sorted(top - TOP)]
if not (ROOT / 'README.md').exists():
    findings.append('README.md:1: is missing')
finish(findings, f'{len(FOLDERS)} folders')
