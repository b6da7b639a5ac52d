// Lint rules of the house. The layer rule is at the end: a room of src/ may import only from the rooms below it.
import tseslint from 'typescript-eslint';

/** Rooms from top to bottom, and what each of them may import besides itself (docs/house.md says why). */
const rooms = {
  base: [],
  container: ['base'],
  haul: ['container', 'base'],
  messaging: ['base'],
  openstack: ['base'],
  nova: ['messaging', 'openstack', 'base'],
  http: ['container', 'base'],
  compute: ['nova', 'openstack', 'messaging', 'haul', 'container', 'base'],
  cli: ['compute', 'http', 'nova', 'openstack', 'messaging', 'haul', 'container', 'base'],
};

const layerRules = Object.entries(rooms).map(([room, below]) => ({
  files: [`src/${room}/**/*.ts`],
  rules: {
    'no-restricted-imports': ['error', {
      patterns: Object.keys(rooms)
        .filter((other) => other !== room && !below.includes(other))
        .concat('main')
        .map((other) => ({
          regex: other === 'main' ? '^(\\.\\./)+main(\\.js)?$' : `^(\\.\\./)+(src/)?${other}/`,
          message: `src/${room} must not import from src/${other}: rooms import only downwards.`,
        })),
    }],
  },
}));

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '.devstack/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
      'max-lines': ['error', { max: 330, skipBlankLines: true, skipComments: true }],
      eqeqeq: 'error',
    },
  },
  ...layerRules,
);
