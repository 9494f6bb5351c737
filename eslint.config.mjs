import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["build/", "dist/", "**/node_modules/", "assembly/"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // The public interface names shapes that JavaScript callers may get wrong: they are checked at run time.
      "@typescript-eslint/no-unnecessary-condition": "off",
      // Where an index was just checked, `!` says so.
      "@typescript-eslint/no-non-null-assertion": "off",
      // An async function is how a method promises that its refusals are rejections.
      "@typescript-eslint/require-await": "off",
      // What is passed on as it was caught is an error already.
      "@typescript-eslint/prefer-promise-reject-errors": ["error", { allowThrowingUnknown: true, allowThrowingAny: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
    },
  },
);
